// Computes  result[r, c] = 2 atan2(sqrt(near), sqrt(far)) of places x[r] and y[c], (latitude, longitude) in radians, with
//           near = sin^2(dlat / 2) + cos lat cos lat' sin^2(dlon / 2), the share of the way round that lies between them,
//           and far = sin^2((lat + lat') / 2) + cos lat cos lat' cos^2(dlon / 2), the share that does not.
// Mapping   A workgroup owns a tile of {{ tile_rows }} rows and {{ tile_columns }} columns; an invocation owns {{ invocation_rows }} rows by
//           {{ invocation_columns }} columns, one after the other. Workgroup id y counts row tiles, x column tiles.
// Bounds    Rows and columns beyond the last are left out. Dispatches cover rows first_row .. rows; both windows start at
//           index 0 of their bindings. Longitudes differ by at most 4 pi.
// Numerics  Both shares sum terms that are not negative, so neither cancels, and near and opposite places are exact to
//           a few roundings. Sines and arctangents are series: the built-in ones are too coarse.

{{ MeasureParams }}

@group(0) @binding(0) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> y: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> x_cosines: array<f32>;
@group(0) @binding(3) var<storage, read> y_cosines: array<f32>;
@group(0) @binding(4) var<storage, read_write> results: array<f32>;
@group(0) @binding(5) var<uniform> params: MeasureParams;

const HALF_PI_HIGH: f32 = 1.5703125;
const HALF_PI_LOW: f32 = 4.838267949e-4;

/// sin of an angle within pi/2 of 0: what follows r^13 is below 2^-30 of it.
fn sine(angle: f32) -> f32 {
    let square = angle * angle;
    var series = {{ 1.0 / 156.0 }};
    {%- for factor in [110, 72, 42, 20, 6] %}
    series = (1.0 - series * square) * {{ 1.0 / factor }};
    {%- endfor %}
    return angle * (1.0 - series * square);
}

/// (sin^2, cos^2) of half an angle.
fn squares_of_half(angle: f32) -> vec2<f32> {
    let half = 0.5 * angle;
    // Both repeat after pi.
    let turns = round(half * 0.318309886);
    let rest = (half - turns * (2.0 * HALF_PI_HIGH)) - turns * (2.0 * HALF_PI_LOW);
    let other = (HALF_PI_HIGH - abs(rest)) + HALF_PI_LOW;
    let sines = vec2<f32>(sine(rest), sine(other));
    return sines * sines;
}

/// The angle whose tangent is a / b, neither negative.
fn angle_of(a: f32, b: f32) -> f32 {
    if a == 0.0 {
        return 0.0;
    }
    let quotient = min(a, b) / max(a, b);
    // Around tan(pi/4) the series starts from there; its argument stays below tan(pi/8).
    let is_far = quotient > 0.41421356;
    let z = select(quotient, (quotient - 1.0) / (quotient + 1.0), is_far);
    let square = z * z;
    var series = {{ 1.0 / 21.0 }};
    {%- for odd in [19, 17, 15, 13, 11, 9, 7, 5, 3] %}
    series = {{ 1.0 / odd }} - series * square;
    {%- endfor %}
    let base = select(0.0, HALF_PI_HIGH * 0.5, is_far);
    let low = select(0.0, HALF_PI_LOW * 0.5, is_far);
    let angle = base + (low + (z - z * square * series));
    return select(angle, (HALF_PI_HIGH - angle) + HALF_PI_LOW, a > b);
}

fn distance_of(row: u32, column: u32) -> f32 {
    let place = x[row];
    let other = y[column];
    let cosines = x_cosines[row] * y_cosines[column];
    let turn = squares_of_half(place.y - other.y);
    let near = squares_of_half(place.x - other.x).x + cosines * turn.x;
    let far = squares_of_half(place.x + other.x).x + cosines * turn.y;
    return 2.0 * angle_of(sqrt(near), sqrt(far));
}

@compute @workgroup_size({{ invocations }})
fn haversine(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    // Neighbours in a workgroup write neighbours of a row.
    let first_row = params.first_row + workgroup.y * {{ tile_rows }}u + local / {{ threads_across }}u;
    let first_column = workgroup.x * {{ tile_columns }}u + local % {{ threads_across }}u;
    for (var down = 0u; down < {{ invocation_rows }}u; down += 1u) {
        let row = first_row + down * {{ tile_rows // invocation_rows }}u;
        for (var across = 0u; across < {{ invocation_columns }}u; across += 1u) {
            let column = first_column + across * {{ threads_across }}u;
            if row < params.rows && column < params.columns {
                results[row * params.columns + column] = distance_of(row, column);
            }
        }
    }
}
