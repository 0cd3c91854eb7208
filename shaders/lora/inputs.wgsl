{#- Reads of x, eight features at a time.
    Expects  binding `x`, `params` with inputs, and what operands.wgsl gives.
    With     x_type f32, f16 or bf16; x_is_vector where each row begins at a multiple of 8 elements. -#}
{%- if x_type == "f16" %}
fn unpack_inputs(word: u32) -> vec2<f32> {
    return unpack2x16float(word);
}
{%- elif x_type == "bf16" %}
fn unpack_inputs(word: u32) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}
{%- endif %}
{%- if not x_is_vector %}

fn load_input(place: u32) -> f32 {
    {%- if x_type == "f32" %}
    return x[place];
    {%- else %}
    let both = unpack_inputs(x[place / 2u]);
    return select(both.x, both.y, place % 2u == 1u);
    {%- endif %}
}
{%- endif %}

/// Eight inputs of the row that begins at element `start`, from `feature` on, a multiple of 8; 0 beyond the last.
fn load_inputs(start: u32, feature: u32) -> array<vec4<f32>, 2> {
    var low = vec4<f32>();
    var high = vec4<f32>();
    if feature >= params.inputs {
        return array<vec4<f32>, 2>(low, high);
    }
    {%- if counted %}
    words_read[0] += {{ 8 if x_type == "f32" else 4 }}u;
    {%- endif %}
    {%- if x_is_vector %}
    {%- if x_type == "f32" %}
    low = x[(start + feature) / 4u];
    high = x[(start + feature) / 4u + 1u];
    {%- else %}
    let words = x[(start + feature) / 8u];
    low = vec4<f32>(unpack_inputs(words.x), unpack_inputs(words.y));
    high = vec4<f32>(unpack_inputs(words.z), unpack_inputs(words.w));
    {%- endif %}
    if feature + 8u > params.inputs {
        // What stands beyond the last feature may be NaN, which 0 does not silence.
        low = select(vec4<f32>(), low, vec4<u32>(feature) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.inputs));
        high = select(vec4<f32>(), high, vec4<u32>(feature) + vec4<u32>(4u, 5u, 6u, 7u) < vec4<u32>(params.inputs));
    }
    {%- else %}
    {%- for k in range(8) %}
    if feature + {{ k }}u < params.inputs {
        {{ "low" if k < 4 else "high" }}.{{ "xyzw"[k % 4] }} = load_input(start + feature + {{ k }}u);
    }
    {%- endfor %}
    {%- endif %}
    return array<vec4<f32>, 2>(low, high);
}
