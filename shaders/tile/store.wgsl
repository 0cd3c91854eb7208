// Computes  values[i, j] = half_norm[j] - sum over d of x[i, d] * y[j, d]. x is [rows, depth], y is [columns, depth].
// Mapping   A workgroup owns one tile of {{ tile_rows }} rows (workgroup id x) and {{ tile_columns }} columns (y); an invocation
//           owns {{ invocation_rows }} rows by {{ invocation_columns }} columns.
// Bounds    Rows, columns and depths beyond the end are loaded as 0 and not stored.
// Numerics  As nearest.wgsl: the same sums in the same order.
// Mirror    crate::tile::kernels::StoreParams

struct StoreParams {
    rows: u32,
    columns: u32,
    depth: u32,
    first_row: u32,
    first_column: u32,
    stride: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> half_norms: array<f32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;
@group(0) @binding(4) var<uniform> params: StoreParams;

fn x_row(row: u32) -> u32 {
    return params.first_row + row;
}

{% include "tile/load.wgsl" %}

fn store_value(row: u32, column: u32, sum: f32) {
    if row < params.rows && column < params.columns {
        values[row * params.stride + params.first_column + column] = half_norms[column] - sum;
    }
}

@compute @workgroup_size({{ invocations }})
fn store(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let own_row = local / {{ threads_across }}u;
    let own_column = local % {{ threads_across }}u;
    let row_tile = workgroup.x * {{ tile_rows }}u;
    let column_tile = workgroup.y * {{ tile_columns }}u;
    let depth_begin = 0u;
    let depth_end = params.depth;
    {% include "tile/product.wgsl" %}
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}{% for c in range(4) %}
    store_value(row_tile + own_row * {{ invocation_rows }}u + {{ r }}u,
                column_tile + own_column * {{ invocation_columns }}u + {{ 4 * v + c }}u, sum_{{ r }}_{{ v }}.{{ "xyzw"[c] }});
    {%- endfor %}{% endfor %}{% endfor %}
}
