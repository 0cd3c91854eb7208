// Computes  copied[i] = source[i], in vectors of 16 bytes: what the memory of a device can do, and with no vectors what
//           a launch costs.
// Mapping   A workgroup owns {{ invocations * 4 }} neighbouring vectors (workgroup ids x and y number it), an invocation four
//           of them, {{ invocations }} apart.
// Bounds    Vectors beyond params.vectors are left alone.
// Numerics  None.

{{ StreamParams }}

@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4<u32>>;
@group(0) @binding(2) var<uniform> params: StreamParams;

@compute @workgroup_size({{ invocations }})
fn copy(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let first = (workgroup.y * params.across + workgroup.x) * {{ invocations * 4 }}u + local;
    {%- for i in range(4) %}
    if first + {{ i * invocations }}u < params.vectors {
        copied[first + {{ i * invocations }}u] = source[first + {{ i * invocations }}u];
    }
    {%- endfor %}
}
