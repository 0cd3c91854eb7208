// Computes  {{ chains }} independent chains of value = value * factor + term per invocation, in registers: the rate of fused
//           multiply-adds that bounds every kernel. With factor = term = 1 a chain ends at its start plus its steps.
// Mapping   One invocation owns {{ chains }} vectors of four f32 and stores their sum.
// Bounds    One vector of `sums` for each invocation; the host dispatches whole workgroups.
// Numerics  Whole numbers below 2^24: exact, whether the compiler fuses or not.

{{ MultiplyParams }}

@group(0) @binding(0) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(1) var<uniform> params: MultiplyParams;

@compute @workgroup_size({{ invocations }})
fn multiply(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let factor = vec4<f32>(params.factor);
    let term = vec4<f32>(params.term);
    // Different starts: equal chains would be one chain to a compiler.
    let start = vec4<f32>(f32(local)) + vec4<f32>(0.0, 1.0, 2.0, 3.0);
    {%- for chain in range(chains) %}
    var value_{{ chain }} = start + vec4<f32>({{ chain }}.0);
    {%- endfor %}
    for (var round = 0u; round < params.rounds; round++) {
        {%- for step in range(unrolled) %}
        {%- for chain in range(chains) %}
        value_{{ chain }} = fma(value_{{ chain }}, factor, term);
        {%- endfor %}
        {%- endfor %}
    }
    var sum = value_0;
    {%- for chain in range(1, chains) %}
    sum += value_{{ chain }};
    {%- endfor %}
    sums[workgroup.x * {{ invocations }}u + local] = sum;
}
