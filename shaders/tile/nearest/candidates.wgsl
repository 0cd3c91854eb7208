// Computes  for each listed row: the columns j with t[j] = half_norm[j] - sum over d of x[row, d] * y[j, d] at most
//           the row's limit, in any order: up to {{ room }}, and their number.
// Mapping   A workgroup owns {{ tile_rows }} listed rows and all column tiles of its split (workgroup id y); an
//           invocation owns {{ invocation_rows }} rows by {{ invocation_columns }} columns of each tile.
// Bounds    Rows, columns and depths beyond the end are loaded as 0; rows beyond the end have a limit below any
//           value; absent columns have a half norm above any limit. Found columns beyond the room are only counted.
{%- if has_vectors %} The depth is a multiple of 4.{% endif %}
{%- if is_whole %} The depth is at most {{ depth_step }}.{% endif %}
// Numerics  As nearest.wgsl: the same sums in the same order.

{{ CandidatesParams }}

{{ Listed }}

@group(0) @binding(0) var<storage, read> x: array<{{ operand }}>;
@group(0) @binding(1) var<storage, read> y: array<{{ operand }}>;
@group(0) @binding(2) var<storage, read> half_norms: array<f32>;
@group(0) @binding(3) var<storage, read> list: array<Listed>;
/// For each row its number of candidates, then the candidates.
@group(0) @binding(4) var<storage, read_write> found: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read> counters: array<u32, 4>;
@group(0) @binding(6) var<uniform> params: CandidatesParams;

fn x_row(row: u32) -> u32 {
    return list[params.first_listed + row].row;
}

{% include "tile/product/load.wgsl" %}

fn keep(row: u32, column: u32) {
    let slot = atomicAdd(&found[row * {{ room + 1 }}u], 1u);
    if slot < {{ room }}u {
        atomicStore(&found[row * {{ room + 1 }}u + 1u + slot], column);
    }
}

@compute @workgroup_size({{ invocations }})
fn candidates(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let own_row = local / {{ threads_across }}u;
    let own_column = local % {{ threads_across }}u;
    let row_tile = workgroup.x * {{ tile_rows }}u;
    // The list may have fewer rows than were expected.
    let rows = min(params.rows, counters[params.counter] - params.first_listed);
    if row_tile >= rows {
        return;
    }
    let first = workgroup.y * params.split_columns;
    let last = min(first + params.split_columns, params.columns);
    {%- for r in range(invocation_rows) %}
    let row_{{ r }} = row_tile + own_row * {{ invocation_rows }}u + {{ r }}u;
    var limit_{{ r }} = -3e38;
    if row_{{ r }} < rows {
        limit_{{ r }} = list[params.first_listed + row_{{ r }}].limit;
    }
    {%- endfor %}
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
                if norm - sum_{{ r }}_{{ v }}.{{ "xyzw"[c] }} <= limit_{{ r }} {
                    keep(row_{{ r }}, params.first_column + column + {{ 4 * v + c }}u);
                }
                {%- endfor %}
            }
            {%- endfor %}{% endfor %}
        }
    }
}
