// Computes  nearest[row] = column for each pair (row, column): the decisions that were taken in f64.
// Mapping   One invocation owns one pair.
// Bounds    Pairs beyond the end do nothing; every row is in the window.
// Numerics  None.

{{ RelabelParams }}

@group(0) @binding(0) var<storage, read> pairs: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> nearest: array<u32>;
@group(0) @binding(2) var<uniform> params: RelabelParams;

@compute @workgroup_size(256)
fn relabel(@builtin(global_invocation_id) invocation: vec3<u32>) {
    if invocation.x < params.pairs {
        let pair = pairs[invocation.x];
        nearest[pair.x] = pair.y;
    }
}
