{#- Lengths of differences from values of a tile, rounded outwards. Squares are widened by 2^-19 of all that is added, roots by
    2^-19 of themselves: more than every rounding, and than the 2^-20 by which a norm may be above the row's length.
    Expects  shared_error of merged.wgsl. -#}
const SLACK: f32 = 0x1p-19f;

/// At least the distance of a row to the column of this value, whose gap is known.
fn length_above(norm: f32, value: f32, gap: f32) -> f32 {
    let square = norm * norm;
    let above = square + 2.0 * (value + gap) + (square + 2.0 * (abs(value) + gap)) * SLACK;
    return sqrt(max(above, 0.0)) * (1.0 + SLACK);
}

/// At most the distance of a row to every column with at least this value.
fn length_below(norm: f32, value: f32) -> f32 {
    // Beyond it there is no column.
    let least = min(value, 1e30);
    let square = norm * norm;
    let shared_part = shared_error(norm);
    let below = square + 2.0 * (least - shared_part) - 2.0 * (square + abs(least) + shared_part) * SLACK;
    return sqrt(max(below, 0.0)) * (1.0 - SLACK);
}
