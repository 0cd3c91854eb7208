{#- Dissimilarities as the bits of f32, so that no device flushes or rounds them.
    Numerics Comparisons are those of the numbers, zeros of both signs alike. A number on the grid is a 64-bit multiple of
             2^unit, rounded once to nearest, ties to even; infinity, which stands for a medoid that does not exist, is 0. -#}
{% include "common/wide.wgsl" %}

const INFINITE: u32 = 0x7f800000u;

/// The same number with one zero.
fn canonical(bits: u32) -> u32 {
    return select(bits, 0u, bits == 0x80000000u);
}

/// An integer in the order of the numbers.
fn key(bits: u32) -> i32 {
    return bitcast<i32>(bits ^ select(0u, 0x7fffffffu, (bits >> 31u) != 0u));
}

/// The number in units of the grid.
fn on_grid(bits: u32, unit: i32) -> vec2<u32> {
    if bits == INFINITE {
        return vec2<u32>();
    }
    let scaled = wide_scale(vec2<u32>(mantissa(bits), 0u), exponent(bits) - unit);
    if (bits >> 31u) != 0u {
        return wide_negate(scaled);
    }
    return scaled;
}

/// a - b.
fn minus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return wide_add(a, wide_negate(b));
}

/// a < b, with signs.
fn is_less(a: vec2<u32>, b: vec2<u32>) -> bool {
    return bitcast<i32>(a.y) < bitcast<i32>(b.y) || (a.y == b.y && a.x < b.x);
}
