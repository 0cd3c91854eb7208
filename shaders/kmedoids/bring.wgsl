// Computes  column[o] = d(o, c) for the candidate c that was found, where this window has it.
// Mapping   One invocation owns one object.
// Bounds    Objects beyond the end do nothing, and nothing is done where no candidate was found.
// Numerics  Bits are copied; zeros get one sign.

{{ BringParams }}

{{ Control }}

@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> control: Control;
@group(0) @binding(2) var<storage, read_write> column: array<u32>;
@group(0) @binding(3) var<uniform> params: BringParams;

{% include "kmedoids/numbers.wgsl" %}

@compute @workgroup_size(256)
fn bring(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let object = invocation.x;
    let candidate = control.candidate;
    if object >= params.objects || control.found == 0u || candidate < params.first || candidate >= params.end {
        return;
    }
    column[object] = canonical(values[(candidate - params.first) * params.objects + object]);
}
