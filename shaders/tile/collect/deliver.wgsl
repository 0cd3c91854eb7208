// Computes  for each row: the length of its list and the columns in it, side by side for all rows.
// Mapping   An invocation owns one word of the result; workgroup ids x and y number blocks of 64 words of one row.
// Bounds    Columns beyond the length are not written; of a longer list only the length counts.
// Numerics  None.

{{ DeliverParams }}

@group(0) @binding(0) var<storage, read> lists: array<u32>;
@group(0) @binding(1) var<storage, read_write> delivered: array<u32>;
@group(0) @binding(2) var<uniform> params: DeliverParams;

@compute @workgroup_size(64)
fn deliver(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let word = workgroup.y * 64u + local;
    if word > params.kept {
        return;
    }
    let start = (params.first_row + workgroup.x) * (3u * params.room + 1u);
    let to = workgroup.x * (params.kept + 1u) + word;
    if word == 0u {
        delivered[to] = lists[start];
    } else if word <= min(lists[start], params.kept) {
        delivered[to] = lists[start + 3u * word];
    }
}
