// Computes  for each row: the columns whose value, times a sign, is at most the row's limit, added to the row's list in any
//           order.
// Mapping   A workgroup owns 256 columns of one row; an invocation owns four of them, 64 apart. Workgroup id x counts rows, y
//           blocks of columns.
// Bounds    Columns beyond the last are left out. Columns beyond the room of a list are only counted.
// Numerics  None: values are compared and kept. Those beyond 5e37 count as that.

{{ KeepParams }}

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> limits: array<f32>;
/// For each row the length of its list, then its entries: value, upper value, column.
@group(0) @binding(2) var<storage, read_write> lists: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> params: KeepParams;

{% include "tile/collect/entries.wgsl" %}

@compute @workgroup_size(64)
fn keep(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let row = params.first_list + workgroup.x;
    let start = workgroup.x * params.stride + params.start;
    let limit = limits[row];
    for (var part = 0u; part < 4u; part += 1u) {
        let column = workgroup.y * 256u + part * 64u + local;
        if column < params.columns {
            let value = params.sign * min(values[start + column], 5e37);
            if value <= limit {
                add_entry(row, params.first_column + column, value, value);
            }
        }
    }
}
