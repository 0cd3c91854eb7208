{#- Reads and writes of y, four columns at a time, and of what shrink made.
    Expects  bindings `y` and `shrunk`, `params` with planes, positions and stride, and what operands.wgsl gives.
    With     y_type f32, f16 or bf16; y_is_vector where each row begins at a multiple of 4 elements. Rows of 16-bit
             elements begin at even elements always. -#}
{%- if y_type == "f16" %}
fn unpack_outputs(word: u32) -> vec2<f32> {
    return unpack2x16float(word);
}

/// The f16 that is nearest, ties to even, as bits: what drivers do in pack2x16float differs.
fn narrow(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u {
        return sign | 0x7e00u;
    }
    if magnitude >= 0x477ff000u {
        return sign | 0x7c00u;
    }
    if magnitude < 0x38800000u {
        // Below 2^-14: beside 0.5 the last bit of an f32 is worth that of an f16.
        return sign | (bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u);
    }
    return sign | ((magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u);
}
{%- elif y_type == "bf16" %}
fn unpack_outputs(word: u32) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}

/// The bf16 that is nearest, ties to even, as bits.
fn narrow(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return (bits >> 16u) | 0x40u;
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
{%- endif %}

/// Four outputs at element `place`, of which `count` exist.
fn load_outputs(place: u32, count: u32) -> vec4<f32> {
    {%- if counted %}
    words_read[0] += {{ 4 if y_type == "f32" else 2 }}u;
    {%- endif %}
    {%- if y_is_vector %}
    if count >= 4u {
        {%- if y_type == "f32" %}
        return y[place / 4u];
        {%- else %}
        let words = y[place / 4u];
        return vec4<f32>(unpack_outputs(words.x), unpack_outputs(words.y));
        {%- endif %}
    }
    {%- endif %}
    var values = vec4<f32>();
    {%- if y_type == "f32" %}
    {%- for k in range(4) %}
    if {{ k }}u < count {
        values.{{ "xyzw"[k] }} = y[{{ "place / 4u]." ~ "xyzw"[k] if y_is_vector else "place + " ~ k ~ "u]" }};
    }
    {%- endfor %}
    {%- else %}
    {%- for k in range(2) %}
    if {{ 2 * k }}u < count {
        let both = unpack_outputs(y[{{ "place / 4u]." ~ "xy"[k] if y_is_vector else "place / 2u + " ~ k ~ "u]" }});
        values.{{ "xz"[k] }} = both.x;
        values.{{ "yw"[k] }} = both.y;
    }
    {%- endfor %}
    {%- endif %}
    return values;
}

/// Writes the first `count` of four outputs at element `place`.
fn store_outputs(place: u32, count: u32, values: vec4<f32>) {
    {%- if y_type == "f32" %}
    {%- if y_is_vector %}
    if count >= 4u {
        y[place / 4u] = values;
        return;
    }
    {%- endif %}
    {%- for k in range(4) %}
    if {{ k }}u < count {
        y[{{ "place / 4u]." ~ "xyzw"[k] if y_is_vector else "place + " ~ k ~ "u]" }} = values.{{ "xyzw"[k] }};
    }
    {%- endfor %}
    {%- else %}
    let low = narrow(values.x) | (narrow(values.y) << 16u);
    let high = narrow(values.z) | (narrow(values.w) << 16u);
    {%- if y_is_vector %}
    if count >= 4u {
        y[place / 4u] = vec2<u32>(low, high);
        return;
    }
    {%- endif %}
    // Rows begin at even elements, so the other half of a last word is this row's padding: it keeps its bits.
    {%- for k in range(2) %}
    {%- set word = "y[" ~ ("place / 4u]." ~ "xy"[k] if y_is_vector else "place / 2u + " ~ k ~ "u]") %}
    if {{ 2 * k + 1 }}u < count {
        {{ word }} = {{ ["low", "high"][k] }};
    } else if {{ 2 * k }}u < count {
        {{ word }} = ({{ word }} & 0xffff0000u) | ({{ ["low", "high"][k] }} & 0xffffu);
    }
    {%- endfor %}
    {%- endif %}
}

/// Value `index` of what shrink made for a position: the sums of its blocks, added in order.
fn load_shrunk(position: u32, index: u32) -> f32 {
    var sum = 0.0;
    for (var plane = 0u; plane < params.planes; plane += 1u) {
        sum += shrunk[(plane * params.positions + position) * params.stride + index];
    }
    {%- if counted %}
    words_read[2] += params.planes;
    {%- endif %}
    return sum;
}
