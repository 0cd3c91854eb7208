// Computes  halves[i, d] = x[i, d] * scale as f16, two in a word, and residuals[i], at least the length of
//           x[i] - halves[i] / scale. x is [rows, depth]; halves is padded with zeros to whole tiles and steps.
// Mapping   A workgroup owns four rows (workgroup ids x and y number it), 16 invocations each.
// Bounds    Rows beyond padded_rows do nothing; rows and depths beyond the end of x are 0.
// Numerics  Bits are rounded as integers, to nearest, and what f16 cannot hold as a normal number becomes 0: the same
//           on every device, and read alike by devices that flush small numbers. The difference to an f32 is exact;
//           slack and least cover the roundings of the sum and squares that underflow.

{{ NarrowParams }}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> halves: array<u32>;
@group(0) @binding(2) var<storage, read_write> residuals: array<f32>;
@group(0) @binding(3) var<uniform> params: NarrowParams;

var<workgroup> shared_squares: array<f32, 64>;

@compute @workgroup_size(64)
fn narrow(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let row = (workgroup.y * params.across + workgroup.x) * 4u + local / 16u;
    let lane = local % 16u;
    var squares = 0.0;
    if row < params.padded_rows {
        for (var word = lane; word < params.words; word += 16u) {
            var packed = 0u;
            {%- for i in range(2) %}
            {
                let d = 2u * word + {{ i }}u;
                if row < params.rows && d < params.depth {
                    let bits = bitcast<u32>(x[row * params.depth + d] * params.scale);
                    let magnitude = bits & 0x7fffffffu;
                    // Rounded to 11 bits; below the least normal f16 there is only 0.
                    let rounded = (magnitude + 0x1000u) & 0xffffe000u;
                    let kept = select(0u, rounded, rounded >= 0x38800000u);
                    let bits16 = select(0u, (rounded >> 13u) - 0x1c000u, kept != 0u) | ((bits >> 16u) & 0x8000u);
                    packed |= bits16 << {{ 16 * i }}u;
                    let difference = bitcast<f32>(magnitude) - bitcast<f32>(kept);
                    squares += difference * difference;
                }
            }
            {%- endfor %}
            halves[row * params.words + word] = packed;
        }
    }
    shared_squares[local] = squares;
    workgroupBarrier();
    if lane == 0u && row < params.rows {
        var sum = 0.0;
        for (var i = local; i < local + 16u; i += 1u) {
            sum += shared_squares[i];
        }
        residuals[row] = (sqrt(sum) * params.slack + params.least) * params.unscale;
    }
}
