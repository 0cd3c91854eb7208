// Computes  for each row: its limit, lowered to the count-th least upper value of its list plus a share of its magnitude and
//           the row's gap, and the list without the entries above it.
// Mapping   A workgroup owns one row. The count-th least upper value is found by its bits, eight at a time from the top: a
//           histogram of the next eight bits among the values that share the bits found so far.
// Bounds    A list that was counted beyond its room, or that keeps more than `most` entries, is lost: its length says so
//           and its limit lets nothing more in. Lists shorter than count stay as they are.
// Numerics  Bits of an f32 with the sign folded in order as unsigned integers. The limit is raised by 2^-20 of the
//           magnitudes that were added: more than four roundings, whichever way they go.

{{ TightenParams }}

@group(0) @binding(0) var<storage, read> gaps: array<f32>;
@group(0) @binding(1) var<storage, read_write> limits: array<f32>;
/// For each row the length of its list, then its entries: value, upper value, column.
@group(0) @binding(2) var<storage, read_write> lists: array<u32>;
@group(0) @binding(3) var<uniform> params: TightenParams;

{% include "tile/collect/select_keys.wgsl" %}
var<workgroup> shared_kept: atomic<u32>;
var<workgroup> shared_length: u32;

@compute @workgroup_size(64)
fn tighten(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let row = params.first_row + workgroup.x;
    let start = row * (3u * params.room + 1u);
    if local == 0u {
        shared_length = lists[start];
        shared_prefix = 0u;
        shared_left = params.count;
        atomicStore(&shared_kept, 0u);
    }
    let length = workgroupUniformLoad(&shared_length);
    if length > params.room {
        if local == 0u {
            lists[start] = params.room + 1u;
            limits[row] = -3e38;
        }
        return;
    }
    if length < params.count {
        return;
    }
    {%- set length = "length" %}
    {%- set key_bits = "lists[start + 2u + 3u * slot]" %}
    {%- include "tile/collect/select.wgsl" %}
    let last = value_of(shared_prefix);
    let gap = gaps[row];
    let lowered = last + params.slope * abs(last) + gap + (abs(last) + gap) * 0x1p-20f;
    let limit = min(limits[row], lowered);
    // Entries move to the front, never beyond the ones that were read.
    for (var first = 0u; first < length; first += 64u) {
        let slot = first + local;
        var value = 0u;
        var upper = 0u;
        var column = 0u;
        if slot < length {
            value = lists[start + 1u + 3u * slot];
            upper = lists[start + 2u + 3u * slot];
            column = lists[start + 3u + 3u * slot];
        }
        storageBarrier();
        workgroupBarrier();
        if slot < length && bitcast<f32>(value) <= limit {
            let to = atomicAdd(&shared_kept, 1u);
            lists[start + 1u + 3u * to] = value;
            lists[start + 2u + 3u * to] = upper;
            lists[start + 3u + 3u * to] = column;
        }
        storageBarrier();
        workgroupBarrier();
    }
    if local == 0u {
        let kept = atomicLoad(&shared_kept);
        let is_lost = kept > params.most;
        lists[start] = select(kept, params.room + 1u, is_lost);
        limits[row] = select(limit, -3e38, is_lost);
    }
}
