{#- Reads of activations, of paged weights and of tables, shared by the LoRA kernels.
    Expects  bindings `weights`, `pages`, `descriptors`, `tables`, and `params` with `page_shift`.
    With     weight_bits 32 or 16. A page entry holds the page's number, and in its top bit whether the page's 16-bit
             elements are bf16 and not f16. -#}
const DESCRIPTOR_WORDS: u32 = {{ descriptor_words }}u;
const BFLOAT: u32 = 0x80000000u;
{%- if counted %}

// Words that this invocation read: activations, weights, shrunk values, tables.
var<private> words_read: array<u32, 4>;

fn add_counts() {
    {%- for i in range(4) %}
    atomicAdd(&counts[{{ i }}], words_read[{{ i }}]);
    {%- endfor %}
}
{%- endif %}

/// Two 16-bit elements of the page that `entry` names.
fn unpack_weights(word: u32, entry: u32) -> vec2<f32> {
    let as_bfloat = vec2<f32>(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
    return select(unpack2x16float(word), as_bfloat, entry >= BFLOAT);
}

/// Entry `at` of the page table.
fn page_entry(at: u32) -> u32 {
    {%- if counted %}
    words_read[3] += 1u;
    {%- endif %}
    return pages[at];
}

/// Where `feature` stands in its page's slab, in elements.
fn weight_place(entry: u32, feature: u32) -> u32 {
    return ((entry & ~BFLOAT) << params.page_shift) + (feature & ((1u << params.page_shift) - 1u));
}
{%- if weight_vector == 8 %}

/// Eight weights from `feature` on, a multiple of 8, of the page that `entry` names. Pages are filled up with 0.
fn load_weights(entry: u32, feature: u32) -> array<vec4<f32>, 2> {
    let place = weight_place(entry, feature);
    {%- if counted %}
    words_read[1] += {{ weight_bits // 4 }}u;
    {%- endif %}
    {%- if weight_bits == 32 %}
    return array<vec4<f32>, 2>(weights[place / 4u], weights[place / 4u + 1u]);
    {%- else %}
    let words = weights[place / 8u];
    return array<vec4<f32>, 2>(
        vec4<f32>(unpack_weights(words.x, entry), unpack_weights(words.y, entry)),
        vec4<f32>(unpack_weights(words.z, entry), unpack_weights(words.w, entry)),
    );
    {%- endif %}
}
{%- else %}

/// Four weights from `feature` on, a multiple of 4, of the page that `entry` names. Pages are filled up with 0.
fn load_weights(entry: u32, feature: u32) -> vec4<f32> {
    let place = weight_place(entry, feature);
    {%- if counted %}
    words_read[1] += {{ weight_bits // 8 }}u;
    {%- endif %}
    {%- if weight_bits == 32 %}
    return weights[place / 4u];
    {%- else %}
    let words = weights[place / 4u];
    return vec4<f32>(unpack_weights(words.x, entry), unpack_weights(words.y, entry));
    {%- endif %}
}
{%- endif %}
