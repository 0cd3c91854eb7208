// Computes  for each row: the columns j with v[j] = half_norm[j] - sum over d of x[row, d] * y[j, d] at most the row's
//           limit, with v[j] and v[j] + 2 errors[j], added to the row's list in any order.
// Mapping   A workgroup owns {{ tile_rows }} rows and one column tile (workgroup id y); an invocation owns
//           {{ invocation_rows }} rows by {{ invocation_columns }} columns.
// Bounds    Rows, columns and depths beyond the end are loaded as 0; rows beyond the end have a limit below any value;
//           absent columns have a half norm above any limit. Columns beyond the room of a list are only counted.
{%- if has_vectors %} The depth is a multiple of 4.{% endif %}
{%- if is_whole %} The depth is at most {{ depth_step }}.{% endif %}
// Numerics  f32. One chain of additions per {{ chunk }} features; the chunks are added in order. What v[j] + 2 errors[j]
//           rounds is covered where limits are lowered (tighten.wgsl).

{{ CollectParams }}

@group(0) @binding(0) var<storage, read> x: array<{{ operand }}>;
@group(0) @binding(1) var<storage, read> y: array<{{ operand }}>;
/// Half norm and error of each column.
@group(0) @binding(2) var<storage, read> norms: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> limits: array<f32>;
/// For each row the length of its list, then its entries: value, upper value, column.
@group(0) @binding(4) var<storage, read_write> lists: array<atomic<u32>>;
@group(0) @binding(5) var<uniform> params: CollectParams;

fn x_row(row: u32) -> u32 {
    return params.first_row + row;
}

{% include "tile/product/load.wgsl" %}

fn keep(row: u32, column: u32, value: f32, error: f32) {
    let start = (params.first_row + row) * (3u * params.room + 1u);
    let slot = atomicAdd(&lists[start], 1u);
    if slot < params.room {
        atomicStore(&lists[start + 1u + 3u * slot], bitcast<u32>(value));
        atomicStore(&lists[start + 2u + 3u * slot], bitcast<u32>(value + 2.0 * error));
        atomicStore(&lists[start + 3u + 3u * slot], params.first_column + column);
    }
}

@compute @workgroup_size({{ invocations }})
fn collect(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let own_row = local / {{ threads_across }}u;
    let own_column = local % {{ threads_across }}u;
    let row_tile = workgroup.x * {{ tile_rows }}u;
    let column_tile = workgroup.y * {{ tile_columns }}u;
    {%- for r in range(invocation_rows) %}
    let row_{{ r }} = row_tile + own_row * {{ invocation_rows }}u + {{ r }}u;
    var limit_{{ r }} = -3e38;
    if row_{{ r }} < params.rows {
        limit_{{ r }} = limits[params.first_row + row_{{ r }}];
    }
    {%- endfor %}
    let depth_begin = 0u;
    let depth_end = params.depth;
    {% include "tile/product/product.wgsl" %}
    let column = column_tile + own_column * {{ invocation_columns }}u;
    {%- for v in range(invocation_columns // 4) %}{% for c in range(4) %}
    {
        let norm = norms[column + {{ 4 * v + c }}u];
        {%- for r in range(invocation_rows) %}
        {
            let value = norm.x - sum_{{ r }}_{{ v }}.{{ "xyzw"[c] }};
            if value <= limit_{{ r }} {
                keep(row_{{ r }}, column + {{ 4 * v + c }}u, value, norm.y);
            }
        }
        {%- endfor %}
    }
    {%- endfor %}{% endfor %}
}
