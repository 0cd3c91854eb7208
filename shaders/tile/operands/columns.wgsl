// Computes  of each column c of f64: its rounding to f32, its squared length, its own error e under a tile's bound and its half
//           norm less that, |c|^2 / 2 - e: what the host makes of columns that it brings.
// Mapping   A workgroup owns a column; an invocation makes the squares of every 64th feature, then eight add every eighth each.
// Bounds    Features beyond the depth do nothing.
// Numerics  common/soft.wgsl, squared lengths summed in eight interleaved parts and those in order, as on the host. The error is a
//           polynomial of the length in f32: `quadratic`, `linear` and `constant` are rounded up so that a few roundings, the root's and
//           underflow included, leave it above the host's.

{{ ColumnsParams }}

@group(0) @binding(0) var<storage, read> exact: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> rounded: array<u32>;
@group(0) @binding(2) var<storage, read_write> half_norms: array<u32>;
@group(0) @binding(3) var<storage, read_write> errors: array<f32>;
@group(0) @binding(4) var<storage, read_write> squares: array<vec2<u32>>;
@group(0) @binding(5) var<uniform> params: ColumnsParams;

{% include "common/soft.wgsl" %}

var<workgroup> shared_squares: array<vec2<u32>, 64>;

@compute @workgroup_size(64)
fn columns(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let column = workgroup.x;
    let start = column * params.depth;
    var part = vec2<u32>();
    for (var block = 0u; block < params.depth; block += 64u) {
        let wide = min(64u, params.depth - block);
        if local < wide {
            let value = exact[start + block + local];
            rounded[start + block + local] = soft_to_f32(value);
            shared_squares[local] = soft_multiply(value, value);
        }
        workgroupBarrier();
        if local < 8u {
            for (var at = local; at < wide; at += 8u) {
                part = soft_add_positive(part, shared_squares[at]);
            }
        }
        workgroupBarrier();
    }
    if local < 8u {
        shared_squares[local] = part;
    }
    workgroupBarrier();
    if local == 0u {
        var square = shared_squares[0];
        for (var at = 1u; at < 8u; at += 1u) {
            square = soft_add_positive(square, shared_squares[at]);
        }
        let length = sqrt(bitcast<f32>(soft_to_f32(square))) * 1.001f + 0x1p-60f;
        let error = (params.quadratic * length + params.linear) * length + params.constant;
        let half_norm = soft_subtract(soft_scale(square, -1), soft_from_f32(bitcast<u32>(error)));
        half_norms[column] = soft_to_f32(half_norm);
        errors[column] = error;
        squares[column] = square;
    }
}
