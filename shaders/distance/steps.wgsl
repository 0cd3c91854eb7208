{#- What a feature adds to a pair, and what its accumulators come to, for accumulate.wgsl.
    Expects  `metric`, functions.wgsl.
    Gives    `step(a, b, x, y)` for four pairs, where the metric is not Minkowski, and `finish(a, b, largest)` for one. -#}
{%- if metric != "minkowski" %}
fn step(a: ptr<function, vec4<{{ scalar }}>>, b: ptr<function, vec4<{{ scalar }}>>, x: vec4<{{ scalar }}>, y: vec4<{{ scalar }}>) {
    {%- if metric == "canberra" %}
    *a += ratio(abs(x - y), abs(x) + abs(y));
    {%- elif metric == "braycurtis" %}
    *a += abs(x - y);
    *b += abs(x + y);
    {%- elif metric == "multiset_jaccard" %}
    *a += abs(x - y);
    *b += max(x, y);
    {%- elif metric == "hamming" %}
    // By their bits: numbers too small for the device's arithmetic differ from 0. The host made one zero of both.
    *a += select(vec4<f32>(), vec4<f32>(1.0), bitcast<vec4<u32>>(x) != bitcast<vec4<u32>>(y));
    {%- elif metric == "nan_euclidean" %}
    // The largest f32 stands for what is missing.
    let missing = vec4<u32>(0x7f7fffffu);
    let is_missing = (bitcast<vec4<u32>>(x) == missing) | (bitcast<vec4<u32>>(y) == missing);
    let difference = select(x, vec4<f32>(), is_missing) - select(y, vec4<f32>(), is_missing);
    *a += difference * difference;
    *b += select(vec4<f32>(), vec4<f32>(1.0), is_missing);
    {%- elif metric == "jensenshannon" %}
    let sum = x + y;
    let d = ratio(abs(x - y), sum);
    let square = d * d;
    var series = vec4<f32>({{ 1.0 / 66.0 }});
    {%- for k in [5, 4, 3, 2, 1] %}
    series = fma(series, square, vec4<f32>({{ 1.0 / (k * (2 * k - 1)) }}));
    {%- endfor %}
    // 1 - d without cancelling.
    let less = ratio(2.0 * min(x, y), sum);
    let less_log = natural_log(select(less, vec4<f32>(1.0), less < vec4<f32>(SMALLEST)));
    let more = 1.0 + d;
    let logs = more * natural_log(more) + less * less_log;
    *a += sum * select(logs, series * square, d < vec4<f32>(0.25));
    {%- elif metric == "kldivergence" %}
    let is_infinite = (y == vec4<f32>()) & (x > vec4<f32>());
    let sum = x + y;
    let difference = x - y;
    let d = ratio(difference, sum);
    let square = d * d;
    var series = vec4<f32>({{ 1.0 / 13.0 }});
    {%- for odd in [11, 9, 7, 5, 3] %}
    series = fma(series, square, vec4<f32>({{ 1.0 / odd }}));
    {%- endfor %}
    let near = sum * square * (1.0 + (1.0 + d) * d * series);
    let is_zero = (x < vec4<f32>(SMALLEST)) | (y < vec4<f32>(SMALLEST));
    let one = vec4<f32>(1.0);
    let far = x * log_ratio(select(x, one, is_zero), select(y, one, is_zero)) - difference;
    *a += select(select(far, near, abs(d) < vec4<f32>(0.25)), vec4<f32>(), is_infinite);
    *b += select(vec4<f32>(), one, is_infinite);
    {%- else %}
    *a += countOneBits(x ^ y);
    *b += countOneBits(x | y);
    {%- endif %}
}
{% endif %}
fn finish(a: {{ scalar }}, b: {{ scalar }}, largest: f32) -> f32 {
    {%- if metric in ["braycurtis", "multiset_jaccard"] %}
    if a == 0.0 {
        return 0.0;
    }
    if b == 0.0 {
        return REFUSED;
    }
    return a / b;
    {%- elif metric == "hamming" %}
    return a / f32(params.depth);
    {%- elif metric == "nan_euclidean" %}
    let depth = f32(params.depth);
    if b == depth {
        // The host makes NaN of the largest f32.
        return bitcast<f32>(0x7f7fffffu);
    }
    return min(sqrt(a * (depth / (depth - b))), params.most) * params.unit;
    {%- elif metric == "jensenshannon" %}
    return sqrt(a * params.unit);
    {%- elif metric == "kldivergence" %}
    if b > 0.0 {
        return REFUSED;
    }
    return a * params.unit;
    {%- elif metric == "minkowski" %}
    let root = power(vec4<f32>(a), 1.0 / params.power).x;
    return min(largest * root, params.most) * params.unit;
    {%- elif metric == "bit_hamming" %}
    return f32(a);
    {%- elif metric == "bit_jaccard" %}
    return f32(a) / f32(max(b, 1u));
    {%- else %}
    return min(a, params.most) * params.unit;
    {%- endif %}
}
