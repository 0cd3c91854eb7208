{#- One row's term of one sum, and how it is added.
    Expects  buffers `x` [.., depth], `sums` [n_clusters, features] as pairs of atomic words, with weights `weights`, and
             `params` with depth and features. Column `depth` of the sums is the weight.
    Numerics The term is rounded once to nearest, ties to even, to a multiple of 2^grid. Values are read as bits, so no
             device flushes or rounds them. Additions are of 64-bit integers: exact, in any order. -#}
{% include "common/wide.wgsl" %}

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

/// Adds a 64-bit number with two 32-bit additions: whoever makes the low word wrap carries into the high word.
fn add(at: u32, sum: vec2<u32>) {
    var high = sum.y;
    if sum.x != 0u {
        let before = atomicAdd(&sums[2u * at], sum.x);
        high += select(0u, 1u, before + sum.x < before);
    }
    if high != 0u {
        atomicAdd(&sums[2u * at + 1u], high);
    }
}
