{#- IEEE f64 arithmetic on pairs of u32: the bits that a CPU gives, on devices without f64.
    Numbers  vec2<u32>(low, high) of the bits of an f64, as the host lays it out.
    Domain   Operands are finite, subnormal ones included, and no divisor is zero. Infinities and NaN as operands are not
             handled.
    Numerics Each result is the exact one rounded once to nearest, ties to even: gradual underflow, and infinity where it
             overflows. All of it is computed with integers, so that no device flushes, fuses or reorders.
    Inside   A significand of 64 bits has its leading bit at 63, so that eleven bits lie below the last that is kept; what
             was lost below those is its bit 0, which is then set ("jammed"). An exponent is the field of the f64. A sign
             is bit 31 alone. -#}

const SOFT_SIGN = 0x80000000u;
const SOFT_INFINITY = 0x7ff00000u;

/// The exponent's field.
fn soft_field(high: u32) -> u32 {
    return (high >> 20u) & 0x7ffu;
}

/// The significand, of fewer than 53 bits where the field is 0, ten places up: its leading bit is at 62, so that a sum of
/// two has room.
fn soft_raised(a: vec2<u32>) -> vec2<u32> {
    let high = (a.y << 10u) | (a.x >> 22u);
    return vec2<u32>(a.x << 10u, (high & 0x3fffffffu) | select(0u, 0x40000000u, (a.y & SOFT_INFINITY) != 0u));
}

/// Leading zeros.
fn soft_zeros(a: vec2<u32>) -> u32 {
    return select(countLeadingZeros(a.y), 32u + countLeadingZeros(a.x), a.y == 0u);
}

/// a << by, for by below 64, or for 0 by any number. Here and below two shifts stand where one could be by 32, which has no meaning.
fn soft_left(a: vec2<u32>, by: u32) -> vec2<u32> {
    let within = by & 31u;
    let whole = select(a, vec2<u32>(0u, a.x), by >= 32u);
    return vec2<u32>(whole.x << within, (whole.y << within) | ((whole.x >> 1u) >> (31u - within)));
}

/// a >> by, for by below 64, with what is lost jammed.
fn soft_right(a: vec2<u32>, by: u32) -> vec2<u32> {
    let within = by & 31u;
    let is_far = by >= 32u;
    let whole = select(a, vec2<u32>(a.y, 0u), is_far);
    let lost = ((whole.x << 1u) << (31u - within)) | select(0u, a.x, is_far);
    let low = (whole.x >> within) | ((whole.y << 1u) << (31u - within));
    return vec2<u32>(low | min(lost, 1u), whole.y >> within);
}

/// Rounds a significand. The exponent is one less than the field where bit 63 is set, which adds the one; it is 0 for a
/// subnormal number, whose bit 63 is not.
fn soft_pack(sign: u32, exponent: u32, significand: vec2<u32>) -> vec2<u32> {
    let low = (significand.y << 21u) | (significand.x >> 11u);
    // One where the eleven bits are above a half, or a half and the last bit is odd.
    let up = ((significand.x & 0x7ffu) + 0x3ffu + (low & 1u)) >> 11u;
    let rounded = low + up;
    // A carry out of the significand raises the exponent, as it should.
    let high = (exponent << 20u) + (significand.y >> 11u) + select(0u, 1u, rounded < up);
    return vec2<u32>(select(rounded, 0u, high >= SOFT_INFINITY), sign | min(high, SOFT_INFINITY));
}

/// The same for an exponent below zero too: what is so small loses bits before it is rounded, once.
fn soft_pack_any(sign: u32, exponent: i32, significand: vec2<u32>) -> vec2<u32> {
    var kept = significand;
    if exponent < 0 {
        kept = soft_right(kept, min(u32(-exponent), 63u));
    }
    return soft_pack(sign, u32(clamp(exponent, 0, 0x7ff)), kept);
}

fn soft_negate(a: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x, a.y ^ SOFT_SIGN);
}

/// a < b; -0 equals 0.
fn soft_less(a: vec2<u32>, b: vec2<u32>) -> bool {
    if (((a.y | b.y) << 1u) | a.x | b.x) == 0u {
        return false;
    }
    // Bits of numbers are ordered as integers are where one is not negative, and the other way round where both are.
    let are_negative = (a.y & b.y) >= SOFT_SIGN;
    let lesser = select(a, b, are_negative);
    let greater = select(b, a, are_negative);
    return select(i32(lesser.y) < i32(greater.y), lesser.x < greater.x, a.y == b.y);
}

/// The number of an f32's bits.
fn soft_from_f32(bits: u32) -> vec2<u32> {
    let sign = bits & SOFT_SIGN;
    let magnitude = bits ^ sign;
    if magnitude >= 0x800000u {
        return vec2<u32>(magnitude << 29u, sign | ((magnitude >> 3u) + (896u << 20u)));
    }
    if magnitude == 0u {
        return vec2<u32>(0u, sign);
    }
    let zeros = countLeadingZeros(magnitude);
    let leading = magnitude << zeros;
    return vec2<u32>(leading << 21u, sign | (((904u - zeros) << 20u) + (leading >> 11u)));
}

fn soft_from_u32(value: u32) -> vec2<u32> {
    if value == 0u {
        return vec2<u32>();
    }
    let zeros = countLeadingZeros(value);
    let leading = value << zeros;
    return vec2<u32>(leading << 21u, ((1053u - zeros) << 20u) + (leading >> 11u));
}

/// The number nearest to an integer in two's complement.
fn soft_from_i64(value: vec2<u32>) -> vec2<u32> {
    let sign = value.y & SOFT_SIGN;
    let mask = 0u - (sign >> 31u);
    let low = (value.x ^ mask) - mask;
    let magnitude = vec2<u32>(low, (value.y ^ mask) + select(0u, sign >> 31u, low == 0u));
    if (magnitude.x | magnitude.y) == 0u {
        return vec2<u32>();
    }
    let zeros = soft_zeros(magnitude);
    return soft_pack(sign, 1085u - zeros, soft_left(magnitude, zeros));
}

/// The bits of the nearest f32.
fn soft_to_f32(a: vec2<u32>) -> u32 {
    let sign = a.y & SOFT_SIGN;
    let exponent = i32(soft_field(a.y)) - 896;
    if exponent >= 255 {
        return sign | 0x7f800000u;
    }
    if exponent > 0 {
        let kept = (u32(exponent) << 23u) | ((a.y & 0xfffffu) << 3u) | (a.x >> 29u);
        // The 29 bits below, and the last bit: above a half, or a half and odd. A carry raises the exponent.
        let up = ((a.x & 0x1fffffffu) + 0xfffffffu + (kept & 1u)) >> 29u;
        return sign | (kept + up);
    }
    // Below 2^-150 all is zero, f64's own subnormal numbers too.
    if exponent < -23 {
        return sign;
    }
    // The significand's leading bit at 30, then at the place of its worth: units are 2^-149.
    let lost = a.x << 10u;
    let leading = (((a.y & 0xfffffu) | 0x100000u) << 10u) | (a.x >> 22u) | min(lost, 1u);
    let by = u32(8 - exponent);
    let by_less_one = by - 1u;
    let kept = (leading >> by_less_one) >> 1u;
    let half = 1u << by_less_one;
    let rest = leading & (half | (half - 1u));
    return sign | (kept + select(0u, 1u, rest + (kept & 1u) > half));
}

fn soft_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let a_high = a.y & 0x7fffffffu;
    let b_high = b.y & 0x7fffffffu;
    let is_swapped = select(a_high < b_high, a.x < b.x, a_high == b_high);
    let larger = vec2<u32>(select(a.x, b.x, is_swapped), max(a_high, b_high));
    let smaller = vec2<u32>(select(b.x, a.x, is_swapped), min(a_high, b_high));
    let sign = select(a.y, b.y, is_swapped) & SOFT_SIGN;
    let exponent = max(larger.y >> 20u, 1u);
    let by = min(exponent - max(smaller.y >> 20u, 1u), 63u);
    let first = soft_raised(larger);
    // Negated for a difference: all bits, and one, which the lowest bit of the first has room for.
    let mask = 0u - ((a.y ^ b.y) >> 31u);
    let second = soft_right(soft_raised(smaller), by) ^ vec2<u32>(mask);
    let low = (first.x - mask) + second.x;
    let sum = vec2<u32>(low, first.y + second.y + select(0u, 1u, low < second.x));
    // A subnormal sum keeps its place. Of zero the sign alone is left to say.
    let zeros = min(soft_zeros(sum), exponent);
    let packed = soft_pack(sign, exponent - zeros, soft_left(sum, zeros));
    return vec2<u32>(packed.x, select(packed.y, a.y & b.y & SOFT_SIGN, (sum.x | sum.y) == 0u));
}

/// a + b of numbers without a sign, at less cost.
fn soft_add_positive(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let is_swapped = select(a.y < b.y, a.x < b.x, a.y == b.y);
    let larger = vec2<u32>(select(a.x, b.x, is_swapped), max(a.y, b.y));
    let smaller = vec2<u32>(select(b.x, a.x, is_swapped), min(a.y, b.y));
    let exponent = max(larger.y >> 20u, 1u);
    let by = min(exponent - max(smaller.y >> 20u, 1u), 63u);
    let first = soft_raised(larger);
    let second = soft_right(soft_raised(smaller), by);
    let low = first.x + second.x;
    let high = first.y + second.y + select(0u, 1u, low < second.x);
    let zeros = 1u - (high >> 31u);
    return soft_pack(0u, exponent - zeros, vec2<u32>(low << zeros, (high << zeros) | ((low >> 31u) & zeros)));
}

fn soft_subtract(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return soft_add(a, soft_negate(b));
}

/// The significand with bit 52 set, and the exponent, which is 0 where the number is subnormal and the significand wrong.
fn soft_parts(a: vec2<u32>) -> vec3<u32> {
    return vec3<u32>(a.x, (a.y & 0xfffffu) | 0x100000u, soft_field(a.y));
}

/// The same of a subnormal number, shifted until bit 52 is set; the exponent is in two's complement.
fn soft_subnormal_parts(a: vec2<u32>) -> vec3<u32> {
    let significand = vec2<u32>(a.x, a.y & 0xfffffu);
    let zeros = soft_zeros(significand);
    return vec3<u32>(soft_left(significand, zeros - 11u), 12u - zeros);
}

fn soft_is_zero(a: vec2<u32>) -> bool {
    return ((a.y << 1u) | a.x) == 0u;
}

fn soft_multiply(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let sign = (a.y ^ b.y) & SOFT_SIGN;
    var x = soft_parts(a);
    var y = soft_parts(b);
    if min(x.z, y.z) == 0u {
        // A product of two subnormal numbers is less than half of the least one.
        let tiny = select(b, a, x.z == 0u);
        if max(x.z, y.z) == 0u || soft_is_zero(tiny) {
            return vec2<u32>(0u, sign);
        }
        y = select(x, y, x.z == 0u);
        x = soft_subnormal_parts(tiny);
    }
    // Digits of 14 bits: their products have 28, and four of those fit a word.
    let x0 = x.x & 0x3fffu;
    let x1 = (x.x >> 14u) & 0x3fffu;
    let x2 = (x.x >> 28u) | ((x.y & 0x3ffu) << 4u);
    let x3 = x.y >> 10u;
    let y0 = y.x & 0x3fffu;
    let y1 = (y.x >> 14u) & 0x3fffu;
    let y2 = (y.x >> 28u) | ((y.y & 0x3ffu) << 4u);
    let y3 = y.y >> 10u;
    let p0 = x0 * y0;
    let p1 = x0 * y1 + x1 * y0 + (p0 >> 14u);
    let p2 = x0 * y2 + x1 * y1 + x2 * y0 + (p1 >> 14u);
    let p3 = x0 * y3 + x1 * y2 + x2 * y1 + x3 * y0 + (p2 >> 14u);
    let p4 = x1 * y3 + x2 * y2 + x3 * y1 + (p3 >> 14u);
    let p5 = x2 * y3 + x3 * y2 + (p4 >> 14u);
    let p6 = x3 * y3 + (p5 >> 14u);
    // The upper 64 of 106 bits; the lower 42 only say whether there was anything.
    let lost = (p0 | p1 | p2) & 0x3fffu;
    let low = (p3 & 0x3fffu) | ((p4 & 0x3fffu) << 14u) | (p5 << 28u) | min(lost, 1u);
    let high = ((p5 & 0x3fffu) >> 4u) | (p6 << 10u);
    let zeros = 1u - (high >> 31u);
    let significand = vec2<u32>(low << zeros, (high << zeros) | ((low >> 31u) & zeros));
    return soft_pack_any(sign, i32(x.z + y.z - 1023u - zeros), significand);
}

/// rest * 2^11 - digit * divisor, which is below 2^64 and not below 0. The divisor's digits have 18, 18 and 17 bits, the
/// last of them four places up.
fn soft_rest(rest: vec2<u32>, digit: u32, divisor: vec3<u32>) -> vec2<u32> {
    let middle = digit * divisor.y;
    let middle_low = middle << 18u;
    let product = digit * divisor.x + middle_low;
    let product_high = digit * divisor.z + (middle >> 14u) + select(0u, 1u, product < middle_low);
    let low = rest.x << 11u;
    let high = (rest.y << 11u) | (rest.x >> 21u);
    return vec2<u32>(low - product, high - product_high - select(0u, 1u, low < product));
}

/// Long division by digits of eleven bits, of which none is too large.
fn soft_divide(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let sign = (a.y ^ b.y) & SOFT_SIGN;
    var x = soft_parts(a);
    var y = soft_parts(b);
    if min(x.z, y.z) == 0u {
        if soft_is_zero(a) {
            return vec2<u32>(0u, sign);
        }
        if x.z == 0u {
            x = soft_subnormal_parts(a);
        }
        if y.z == 0u {
            y = soft_subnormal_parts(b);
        }
    }
    // 2^69 / divisor from the divisor's 16 leading bits: a parabola that is wrong by at most 1/99, and a step of Newton's,
    // which ends below. Less than 5.5 / 2^15 of it is missing, for each of the 2^15 leading bits.
    let leading = y.y >> 5u;
    let guess = 34754u - (((47662u - ((21183u * leading) >> 16u)) * leading) >> 16u);
    let inverse = (guess * ((0x40000000u - guess * (leading + 1u)) >> 14u)) >> 12u;
    let divisor = vec3<u32>(y.x & 0x3ffffu, (y.x >> 18u) | ((y.y & 0xfu) << 14u), y.y & 0x1ffff0u);
    // The rest starts below twice the divisor and stays there: of rest * 2^11 / divisor a digit leaves out less than 1 as
    // it is whole, 1/8 for the bits of the rest that it does not look at, and 5.5 / 8 for what the inverse misses.
    var rest = x.xy;
    {%- for place in range(5) %}
    let digit{{ place }} = ((rest.y >> 6u) * inverse) >> 20u;
    rest = soft_rest(rest, digit{{ place }}, divisor);
    {%- endfor %}
    // It may hold the divisor once more.
    let is_short = select(rest.y > y.y, rest.x >= y.x, rest.y == y.y);
    let left = select(rest.x | rest.y, (rest.x ^ y.x) | (rest.y ^ y.y), is_short);
    // The digits are 2^55 * x / y, of 55 or 56 bits.
    let last = (digit3 << 11u) + digit4 + select(0u, 1u, is_short);
    let low = (digit2 << 22u) + last;
    let high = (digit0 << 12u) + (digit1 << 1u) + (digit2 >> 10u) + select(0u, 1u, low < last);
    let zeros = 1u - (high >> 23u);
    let by = 8u + zeros;
    let significand = vec2<u32>((low << by) | min(left, 1u), (high << by) | (low >> (32u - by)));
    return soft_pack_any(sign, i32(x.z - y.z + 1022u - zeros), significand);
}

/// The square root of a number without a sign.
fn soft_root(a: vec2<u32>) -> vec2<u32> {
    if soft_is_zero(a) {
        return a;
    }
    var parts = soft_parts(a);
    if parts.z == 0u {
        parts = soft_subnormal_parts(a);
    }
    let odd = (parts.z + 1u) & 1u;
    // 54 bits at the top, which two digits of a root take at a time; behind them are zeros.
    var radicand = soft_left(parts.xy, 10u + odd);
    var rest = vec2<u32>();
    var root = vec2<u32>();
    for (var place = 0u; place < 55u; place += 1u) {
        rest = vec2<u32>((rest.x << 2u) | (radicand.y >> 30u), (rest.y << 2u) | (rest.x >> 30u));
        radicand = vec2<u32>(radicand.x << 2u, (radicand.y << 2u) | (radicand.x >> 30u));
        let trial = vec2<u32>((root.x << 2u) | 1u, (root.y << 2u) | (root.x >> 30u));
        root = vec2<u32>(root.x << 1u, (root.y << 1u) | (root.x >> 31u));
        if rest.y > trial.y || (rest.y == trial.y && rest.x >= trial.x) {
            rest = vec2<u32>(rest.x - trial.x, rest.y - trial.y - select(0u, 1u, rest.x < trial.x));
            root.x |= 1u;
        }
    }
    // It has 55 bits.
    let significand = soft_left(root, 9u);
    let exponent = ((i32(parts.z) - 1023 - i32(odd)) >> 1u) + 1022;
    return soft_pack_any(0u, exponent, vec2<u32>(significand.x | min(rest.x | rest.y, 1u), significand.y));
}

/// a * 2^exponent.
fn soft_scale(a: vec2<u32>, exponent: i32) -> vec2<u32> {
    let field = i32(soft_field(a.y));
    // No number comes back from farther away.
    let by = clamp(exponent, -4096, 4096);
    if (field != 0) & (field + by > 0) & (field + by < 0x7ff) {
        return vec2<u32>(a.x, a.y + (u32(by) << 20u));
    }
    if soft_is_zero(a) {
        return a;
    }
    var parts = soft_parts(a);
    if field == 0 {
        parts = soft_subnormal_parts(a);
    }
    return soft_pack_any(a.y & SOFT_SIGN, i32(parts.z) - 1 + by, soft_left(parts.xy, 11u));
}
