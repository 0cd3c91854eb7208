// Computes  for each row: the columns whose value is at most the count-th least value plus twice the row's error
//           bound, in any order: up to `room`, and their number.
// Mapping   A workgroup owns one row. The count-th least value is found by its bits, eight at a time from the top: a
//           histogram of the next eight bits among the values that share the bits found so far.
// Bounds    Found columns beyond the room are only counted. count is at most the number of columns.
// Numerics  Bits of an f32 with the sign folded in order as unsigned integers. -0 and 0 differ there by one step,
//           which the bound covers.

{{ ShortlistParams }}

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> norms: array<f32>;
/// For each row its number of columns found, then the columns.
@group(0) @binding(2) var<storage, read_write> found: array<u32>;
@group(0) @binding(3) var<uniform> params: ShortlistParams;

{% include "tile/collect/select_keys.wgsl" %}
var<workgroup> shared_found: atomic<u32>;

@compute @workgroup_size(64)
fn shortlist(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let row = workgroup.x;
    let start = row * params.stride;
    if local == 0u {
        shared_prefix = 0u;
        shared_left = params.count;
        atomicStore(&shared_found, 0u);
    }
    {%- set length = "params.columns" %}
    {%- set key_bits = "bitcast<u32>(values[start + slot])" %}
    {%- include "tile/collect/select.wgsl" %}
    let gap = 2.0 * (params.slope * norms[params.first_row + row] + params.constant);
    let limit = value_of(shared_prefix) + gap;
    let out = row * (params.room + 1u);
    for (var column = local; column < params.columns; column += 64u) {
        if values[start + column] <= limit {
            let slot = atomicAdd(&shared_found, 1u);
            if slot < params.room {
                found[out + 1u + slot] = column;
            }
        }
    }
    workgroupBarrier();
    if local == 0u {
        found[out] = atomicLoad(&shared_found);
    }
}
