{#- Quotients, logarithms and powers of four numbers, as src/distance/functions.rs has them: the built-in ones are too
    coarse where a logarithm is near 0. -#}
{%- if metric in ["canberra", "jensenshannon", "kldivergence"] %}
/// a / b, 0 where a is 0.
fn ratio(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let is_zero = a == vec4<f32>();
    return select(a, vec4<f32>(), is_zero) / select(b, vec4<f32>(1.0), is_zero);
}
{% endif %}
{%- if metric in ["minkowski", "jensenshannon", "kldivergence"] %}
const ROOT_OF_HALF = vec4<u32>(0x3f3504f3u);

fn shifted_bits(value: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(value) - ROOT_OF_HALF;
}

fn mantissa(shifted: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>((shifted & vec4<u32>(0x7fffffu)) + ROOT_OF_HALF);
}

fn exponent(shifted: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(shifted) >> vec4<u32>(23u));
}

/// ln(a / b) of numbers within a factor of 2, and `exponents` times ln 2 more.
fn log_of_parts(a: vec4<f32>, b: vec4<f32>, exponents: vec4<f32>) -> vec4<f32> {
    let z = (a - b) / (a + b);
    let square = z * z;
    var series = vec4<f32>({{ 1.0 / 19.0 }});
    {%- for odd in [17, 15, 13, 11, 9, 7, 5, 3, 1] %}
    series = fma(series, square, vec4<f32>({{ 1.0 / odd }}));
    {%- endfor %}
    let low = exponents * -2.12194440e-4;
    return fma(exponents, vec4<f32>(0.693359375), fma(2.0 * z, series, low));
}

/// ln of positive normal numbers.
fn natural_log(value: vec4<f32>) -> vec4<f32> {
    let shifted = shifted_bits(value);
    return log_of_parts(mantissa(shifted), vec4<f32>(1.0), exponent(shifted));
}
{% endif %}
{%- if metric == "kldivergence" %}
/// ln(a / b) of positive normal numbers.
fn log_ratio(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let a_shifted = shifted_bits(a);
    let b_shifted = shifted_bits(b);
    return log_of_parts(mantissa(a_shifted), mantissa(b_shifted), exponent(a_shifted) - exponent(b_shifted));
}
{% endif %}
{%- if metric == "minkowski" %}
/// value^p; 0 where the value or the power is below 2^-126, 2^127 where it would be larger.
fn power(value: vec4<f32>, p: f32) -> vec4<f32> {
    let positive = max(value, vec4<f32>(SMALLEST));
    let exponents = min(natural_log(positive) * 1.44269504 * p, vec4<f32>(127.0));
    let is_zero = (value < vec4<f32>(SMALLEST)) | (exponents < vec4<f32>(-126.0));
    let kept = select(exponents, vec4<f32>(), is_zero);
    let whole = round(kept);
    let rest = (kept - whole) * 0.693147181;
    var series = vec4<f32>({{ 1.0 / 7.0 }});
    {%- for factor in [6, 5, 4, 3, 2, 1] %}
    series = fma(series, rest, vec4<f32>(1.0)) * {{ 1.0 / factor }};
    {%- endfor %}
    let scale = bitcast<vec4<f32>>(vec4<u32>(vec4<i32>(whole) + vec4<i32>(127)) << vec4<u32>(23u));
    return select(fma(series, rest, vec4<f32>(1.0)) * scale, vec4<f32>(), is_zero);
}
{% endif %}
