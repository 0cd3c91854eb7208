// Computes  results[i] = operation of case i on its operands, in the arithmetic of shaders/common/soft.wgsl.
// Mapping   One invocation owns one case.
// Bounds    Invocations beyond the cases do nothing.
// Numerics  Bits: one rounding to nearest, ties to even.

{{ CheckParams }}

{{ SoftCase }}

@group(0) @binding(0) var<storage, read> cases: array<SoftCase>;
@group(0) @binding(1) var<storage, read_write> results: array<vec2<u32>>;
@group(0) @binding(2) var<uniform> params: CheckParams;

{% include "common/soft.wgsl" %}

fn result_of(operation: u32, a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    switch operation {
        case {{ operations.Add }}u: { return soft_add(a, b); }
        case {{ operations.AddPositive }}u: { return soft_add_positive(a, b); }
        case {{ operations.Subtract }}u: { return soft_subtract(a, b); }
        case {{ operations.Multiply }}u: { return soft_multiply(a, b); }
        case {{ operations.Divide }}u: { return soft_divide(a, b); }
        case {{ operations.Root }}u: { return soft_root(a); }
        case {{ operations.Less }}u: { return vec2<u32>(select(0u, 1u, soft_less(a, b)), 0u); }
        case {{ operations.Negate }}u: { return soft_negate(a); }
        case {{ operations.Scale }}u: { return soft_scale(a, bitcast<i32>(b.x)); }
        case {{ operations.FromF32 }}u: { return soft_from_f32(a.x); }
        case {{ operations.FromU32 }}u: { return soft_from_u32(a.x); }
        case {{ operations.FromI64 }}u: { return soft_from_i64(a); }
        case {{ operations.ToF32 }}u: { return vec2<u32>(soft_to_f32(a), 0u); }
        default: { return vec2<u32>(); }
    }
}

@compute @workgroup_size(64)
fn check(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let index = invocation.x;
    if index >= params.cases {
        return;
    }
    let own = cases[index];
    results[index] = result_of(own.operation, vec2<u32>(own.a_low, own.a_high), vec2<u32>(own.b_low, own.b_high));
}
