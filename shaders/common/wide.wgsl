/// 64-bit integers as vec2<u32>(low, high), two's complement.

fn wide_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn wide_negate(a: vec2<u32>) -> vec2<u32> {
    return wide_add(~a, vec2<u32>(1u, 0u));
}

/// a << by, for by below 64.
fn wide_left(a: vec2<u32>, by: u32) -> vec2<u32> {
    if by == 0u {
        return a;
    }
    if by >= 32u {
        return vec2<u32>(0u, a.x << (by - 32u));
    }
    return vec2<u32>(a.x << by, (a.y << by) | (a.x >> (32u - by)));
}

/// a >> by without sign, for by below 64.
fn wide_right(a: vec2<u32>, by: u32) -> vec2<u32> {
    if by == 0u {
        return a;
    }
    if by >= 32u {
        return vec2<u32>(a.y >> (by - 32u), 0u);
    }
    return vec2<u32>((a.x >> by) | (a.y << (32u - by)), a.y >> by);
}

/// The product of two numbers below 2^24, from halves of 12 bits.
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xfffu) * (b & 0xfffu);
    let middle = (a & 0xfffu) * (b >> 12u) + (a >> 12u) * (b & 0xfffu);
    let high = (a >> 12u) * (b >> 12u);
    let upper = wide_add(wide_left(vec2<u32>(middle, 0u), 12u), wide_left(vec2<u32>(high, 0u), 24u));
    return wide_add(upper, vec2<u32>(low, 0u));
}

/// a * 2^shift rounded to the nearest integer, ties to even, for a below 2^48.
fn wide_scale(a: vec2<u32>, shift: i32) -> vec2<u32> {
    if shift >= 0 {
        return wide_left(a, u32(shift));
    }
    let by = u32(-shift);
    if by > 48u {
        return vec2<u32>();
    }
    let odd = wide_right(a, by).x & 1u;
    let half_less_one = wide_add(wide_left(vec2<u32>(1u, 0u), by - 1u), vec2<u32>(0xffffffffu, 0xffffffffu));
    return wide_right(wide_add(a, wide_add(half_less_one, vec2<u32>(odd, 0u))), by);
}

/// Mantissa and exponent of the bits of an f32: |value| = mantissa * 2^exponent.
fn mantissa(bits: u32) -> u32 {
    return (bits & 0x7fffffu) | select(0u, 0x800000u, (bits & 0x7f800000u) != 0u);
}

fn exponent(bits: u32) -> i32 {
    return max(i32((bits >> 23u) & 0xffu), 1) - 150;
}
