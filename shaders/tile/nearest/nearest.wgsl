// Computes  for each row i: the least of t[j] = half_norm[j] - sum over d of x[i, d] * y[j, d] over the columns j of
//           one split, its column, and the second-least t. x is [rows, depth], y is [columns, depth], row-major.
// Mapping   A workgroup owns {{ tile_rows }} rows{% if listed %} of a list{% endif %} and all column tiles of its split (workgroup id y); an invocation
//           owns {{ invocation_rows }} rows by {{ invocation_columns }} columns of each tile, in registers.
// Bounds    Rows, columns and depths beyond the end are loaded as 0; absent columns have a half norm that never wins
//           (half_norms is padded to whole tiles); rows beyond the end are not stored.
{%- if has_vectors %} The depth is a multiple of 4.{% endif %}
{%- if is_whole %} The depth is at most {{ depth_step }}.{% endif %}
// Numerics  f32. {% if chunk_steps or is_whole %}One chain of additions per {{ chunk }} features; the chunks are added in order.
{%- else %}One chain of additions in the order of d.
{%- endif %}
//           Ties keep the lowest column within an invocation; a tie between two invocations makes the second equal to
//           the best, which certifies nothing.

{{ NearestParams }}

{{ Partial }}
{%- if listed %}

{{ Listed }}
{%- endif %}

@group(0) @binding(0) var<storage, read> x: array<{{ operand }}>;
@group(0) @binding(1) var<storage, read> y: array<{{ operand }}>;
@group(0) @binding(2) var<storage, read> half_norms: array<f32>;
@group(0) @binding(3) var<storage, read_write> partials: array<Partial>;
{%- if listed %}
@group(0) @binding(4) var<storage, read> list: array<Listed>;
/// How many entries the list has, first of all.
@group(0) @binding(5) var<storage, read> counters: array<u32, 4>;
@group(0) @binding(6) var<uniform> params: NearestParams;
{%- else %}
@group(0) @binding(4) var<uniform> params: NearestParams;
{%- endif %}

var<workgroup> shared_values: array<vec2<f32>, {{ invocations }}>;
var<workgroup> shared_columns: array<u32, {{ invocations }}>;

fn x_row(row: u32) -> u32 {
    {%- if listed %}
    return list[params.first_row + row].row;
    {%- else %}
    return params.first_row + row;
    {%- endif %}
}

{% include "tile/product/load.wgsl" %}

@compute @workgroup_size({{ invocations }})
fn nearest(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let own_row = local / {{ threads_across }}u;
    let own_column = local % {{ threads_across }}u;
    let row_tile = workgroup.x * {{ tile_rows }}u;
    {%- if listed %}
    // The list may have fewer rows than were expected.
    let rows = min(params.rows, counters[0] - params.first_row);
    if row_tile >= rows {
        return;
    }
    {%- else %}
    let rows = params.rows;
    {%- endif %}
    let first = workgroup.y * params.split_columns;
    let last = min(first + params.split_columns, params.columns);
    {%- for r in range(invocation_rows) %}
    var best_{{ r }} = 2e38;
    var second_{{ r }} = 2e38;
    var column_{{ r }} = 0u;
    {%- endfor %}
    {%- set x_once = is_whole %}
    {%- if x_once %}
    {
        // All column tiles see the same rows.
        let start = 0u;
        {%- set pieces = x_reads %}
        {%- include "tile/product/stage.wgsl" %}
    }
    {%- endif %}
    for (var column_tile = first; column_tile < last; column_tile += {{ tile_columns }}u) {
        let depth_begin = 0u;
        let depth_end = params.depth;
        {% include "tile/product/product.wgsl" %}
        {
            let column = column_tile + own_column * {{ invocation_columns }}u;
            {%- for v in range(invocation_columns // 4) %}{% for c in range(4) %}
            {
                let norm = half_norms[column + {{ 4 * v + c }}u];
                {%- for r in range(invocation_rows) %}
                {
                    let value = norm - sum_{{ r }}_{{ v }}.{{ "xyzw"[c] }};
                    column_{{ r }} = select(column_{{ r }}, column + {{ 4 * v + c }}u, value < best_{{ r }});
                    second_{{ r }} = min(second_{{ r }}, max(best_{{ r }}, value));
                    best_{{ r }} = min(best_{{ r }}, value);
                }
                {%- endfor %}
            }
            {%- endfor %}{% endfor %}
        }
    }
    // Merges the {{ threads_across }} invocations that share a row, one of their rows at a time.
    {%- for r in range(invocation_rows) %}
    shared_values[local] = vec2<f32>(best_{{ r }}, second_{{ r }});
    shared_columns[local] = column_{{ r }};
    workgroupBarrier();
    {
        let row = row_tile + own_row * {{ invocation_rows }}u + {{ r }}u;
        if own_column == 0u && row < rows {
            var merged = Partial(shared_values[local].x, shared_values[local].y, shared_columns[local]);
            for (var other = local + 1u; other < local + {{ threads_across }}u; other += 1u) {
                let value = shared_values[other];
                merged.second = min(min(merged.second, value.y), max(merged.best, value.x));
                merged.column = select(merged.column, shared_columns[other], value.x < merged.best);
                merged.best = min(merged.best, value.x);
            }
            merged.column += params.first_column;
            partials[(params.first_split + workgroup.y) * params.stride + row] = merged;
        }
    }
    workgroupBarrier();
    {%- endfor %}
}
