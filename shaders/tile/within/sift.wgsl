// Computes  for each row the columns whose value is at most the row's upper limit: those below its lower limit are counted as
//           sure, the others are counted and listed as pairs of row and column, in any order.
// Mapping   A workgroup owns 256 columns of one row; an invocation owns four neighbouring ones, and takes room for all its
//           pairs at once. Workgroup id x counts rows, y blocks of columns.
// Bounds    Columns beyond the last are left out. Pairs beyond the room are only counted; there are fewer than 2^32 between two
//           clearings.
// Numerics  None: values are compared. Those beyond 5e37 count as that.

{{ SiftParams }}

{{ Limits }}

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> limits: array<Limits>;
/// The number of pairs, then for each row how many are listed and how many are sure.
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> pairs: array<vec2<u32>>;
@group(0) @binding(4) var<uniform> params: SiftParams;

{% include "tile/within/pairs.wgsl" %}

@compute @workgroup_size(64)
fn sift(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let row = params.first_limit + workgroup.x;
    let start = (params.first_row + workgroup.x) * params.columns;
    let first = workgroup.y * 256u + local * 4u;
    let limit = limits[row];
    // One bit per column.
    var listed = 0u;
    var sure = 0u;
    for (var lane = 0u; lane < 4u; lane += 1u) {
        let column = first + lane;
        if column < params.columns {
            let value = min(values[start + column], 5e37);
            let is_in = value <= limit.upper && params.first_column + column != limit.left_out;
            let is_sure = value <= limit.lower;
            listed |= u32(is_in && !is_sure) << lane;
            sure |= u32(is_in && is_sure) << lane;
        }
    }
    add_counts(row, countOneBits(listed), countOneBits(sure));
    if listed != 0u {
        put_pairs(atomicAdd(&counts[0], countOneBits(listed)), row, params.first_column + first, listed);
    }
}
