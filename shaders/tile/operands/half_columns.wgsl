// Computes  of each column c of f64: c * 2^exponent as f16, two in a word, and what the bound of f16 products takes of it (see
//           tile/bound/f16.rs): weight A' and constant k, with |c|^2 / 2 - k beside the weight.
// Mapping   A workgroup owns a column, an invocation every 64th word.
// Bounds    Features beyond the depth are 0; words and columns behind them are left as they are.
// Numerics  Bits are rounded as integers, as in narrow.wgsl but ties to even. What is lost of an f32 is exact; that f32 is within
//           2^-24 of its number. `slack` and `least` cover the roundings of sums and roots, and squares that underflow.

{{ HalfColumnsParams }}

@group(0) @binding(0) var<storage, read> exact: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> squares: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> halves: array<u32>;
/// Half norm less the constant, and weight.
@group(0) @binding(3) var<storage, read_write> half_terms: array<vec2<f32>>;
/// Weight and constant.
@group(0) @binding(4) var<storage, read_write> errors: array<vec2<f32>>;
@group(0) @binding(5) var<uniform> params: HalfColumnsParams;

{% include "common/soft.wgsl" %}

var<workgroup> shared_squares: array<f32, 64>;

@compute @workgroup_size(64)
fn half_columns(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let column = workgroup.x;
    var lost = 0.0;
    for (var word = local; 2u * word < params.depth; word += 64u) {
        var packed = 0u;
        {%- for i in range(2) %}
        {
            let d = 2u * word + {{ i }}u;
            if d < params.depth {
                let bits = soft_to_f32(soft_scale(exact[column * params.depth + d], params.exponent));
                let magnitude = bits & 0x7fffffffu;
                let rounded = (magnitude + 0xfffu + ((magnitude >> 13u) & 1u)) & 0xffffe000u;
                let kept = select(0u, rounded, rounded >= 0x38800000u);
                let bits16 = select(0u, (rounded >> 13u) - 0x1c000u, kept != 0u) | ((bits >> 16u) & 0x8000u);
                packed |= bits16 << {{ 16 * i }}u;
                let difference = bitcast<f32>(magnitude) - bitcast<f32>(kept);
                lost += difference * difference;
            }
        }
        {%- endfor %}
        halves[column * params.words + word] = packed;
    }
    shared_squares[local] = lost;
    workgroupBarrier();
    if local == 0u {
        var sum = 0.0;
        for (var at = 0u; at < 64u; at += 1u) {
            sum += shared_squares[at];
        }
        let square = squares[column];
        let length = sqrt(bitcast<f32>(soft_to_f32(square))) * 1.001f + 0x1p-60f;
        let residual = (sqrt(sum) * params.slack + params.least) * params.unscale + length * 0x1p-23f;
        let reach = length + residual;
        let per_residual = reach * (1.0 + params.relative);
        let per_norm = residual + params.relative * reach;
        let weight = max(per_residual, per_norm / params.ratio) * 1.002f;
        let constant = (params.quadratic * length * length + params.underflow * (4.0 + reach)) * 1.002f + 0x1p-125f;
        let half_norm = soft_subtract(soft_scale(square, -1), soft_from_f32(bitcast<u32>(constant)));
        half_terms[column] = vec2<f32>(bitcast<f32>(soft_to_f32(half_norm)), weight);
        errors[column] = vec2<f32>(weight, constant);
    }
}
