// Computes  values[i, j] = half_norm[j] - sum over d of x[i, d] * y[j, d]. x is [rows, depth], y is [columns, depth].
// Mapping   A workgroup owns one tile of {{ tile_rows }} rows and {{ tile_columns }} columns; an invocation owns {{ invocation_rows }} rows by
//           {{ invocation_columns }} columns. Workgroup id x counts row tiles, y column tiles; order.wgsl gives both a new order.
// Bounds    Rows, columns and depths beyond the end are loaded as 0 and not stored.
{%- if has_vectors %} The depth is a multiple of 4.{% endif %}
{%- if is_whole %} The depth is at most {{ depth_step }}.{% endif %}
// Numerics  f32, one chain of additions per {{ chunk }} features, chunks added in order, whatever the tile.

{{ StoreParams }}

@group(0) @binding(0) var<storage, read> x: array<{{ operand }}>;
@group(0) @binding(1) var<storage, read> y: array<{{ operand }}>;
@group(0) @binding(2) var<storage, read> half_norms: array<f32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;
@group(0) @binding(4) var<uniform> params: StoreParams;

fn x_row(row: u32) -> u32 {
    return params.first_row + row;
}

{% include "tile/product/load.wgsl" %}

fn store_value(row: u32, column: u32, sum: f32) {
    if row < params.rows && column < params.columns {
        values[row * params.stride + params.first_column + column] = half_norms[column] - sum;
    }
}

@compute @workgroup_size({{ invocations }})
fn store(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let own_row = local / {{ threads_across }}u;
    let own_column = local % {{ threads_across }}u;
    let row_tiles = (params.rows + {{ tile_rows - 1 }}u) / {{ tile_rows }}u;
    let column_tiles = (params.columns + {{ tile_columns - 1 }}u) / {{ tile_columns }}u;
    {%- set tiles_across = "row_tiles" %}
    {%- include "tile/product/order.wgsl" %}
    let row_tile = row_place * {{ tile_rows }}u;
    let column_tile = column_place * {{ tile_columns }}u;
    let depth_begin = 0u;
    let depth_end = params.depth;
    {% include "tile/product/product.wgsl" %}
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}{% for c in range(4) %}
    store_value(row_tile + own_row * {{ invocation_rows }}u + {{ r }}u,
                column_tile + own_column * {{ invocation_columns }}u + {{ 4 * v + c }}u, sum_{{ r }}_{{ v }}.{{ "xyzw"[c] }});
    {%- endfor %}{% endfor %}{% endfor %}
}
