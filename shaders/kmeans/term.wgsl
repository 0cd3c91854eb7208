{#- One row's term of one sum, and how it is added.
    Expects  buffers `x` [.., depth], `sums` [n_clusters, features] as pairs of atomic words, with weights `weights`, and
             `params` with depth and features. Column `depth` of the sums is the weight.
    Numerics The term is rounded once to nearest, ties to even, to a multiple of 2^grid. Values are read as bits, so no
             device flushes or rounds them. Additions are of 64-bit integers: exact, in any order. -#}
{% include "common/wide.wgsl" %}
{%- from "common/wide_atomic.wgsl" import adder %}

fn term(row: u32, feature: u32, grid: i32) -> vec2<u32> {
    {%- if weighted %}
    var bits = 0x3f800000u;
    if feature < params.depth {
        bits = x[row * params.depth + feature];
    }
    let weight = weights[row];
    let product = wide_product(mantissa(bits), mantissa(weight));
    let scaled = wide_scale(product, exponent(bits) + exponent(weight) - grid);
    {%- else %}
    let bits = x[row * params.depth + feature];
    let scaled = wide_scale(vec2<u32>(mantissa(bits), 0u), exponent(bits) - grid);
    {%- endif %}
    if (bits >> 31u) != 0u {
        return wide_negate(scaled);
    }
    return scaled;
}

{{ adder("add", "sums") }}
