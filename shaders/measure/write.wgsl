// Computes  written[i] = i, as the first word of a vector of 16 bytes: what a device writes per second.
// Mapping   As shaders/measure/copy.wgsl: four neighbouring vectors an invocation, {{ invocations }} apart.
// Bounds    Vectors beyond params.vectors are left alone.
// Numerics  None.

{{ StreamParams }}

@group(0) @binding(0) var<storage, read_write> written: array<vec4<u32>>;
@group(0) @binding(1) var<uniform> params: StreamParams;

@compute @workgroup_size({{ invocations }})
fn write(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let first = (workgroup.y * params.across + workgroup.x) * {{ invocations * 4 }}u + local;
    {%- for i in range(4) %}
    if first + {{ i * invocations }}u < params.vectors {
        written[first + {{ i * invocations }}u] = vec4<u32>(first + {{ i * invocations }}u, 1u, 2u, 3u);
    }
    {%- endfor %}
}
