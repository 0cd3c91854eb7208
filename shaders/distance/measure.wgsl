// Computes  result[r, c] = metric(x row r, y row c), for a window of X and a window of Y, row-major.
//           {% if is_expanded %}Here |x|^2 + |y|^2 - 2 sum_d x[r, d] y[c, d]{% if root %}, and its root{% endif %}.
{%- elif is_counted %}Here a ratio of numbers of features, from those that are 1 in both rows, sum_d x[r, d] y[c, d].
{%- elif combine == "dot" %}Here sum_d x[r, d] y[c, d].
{%- elif combine == "manhattan" %}Here sum_d |x[r, d] - y[c, d]|.
{%- else %}Here max_d |x[r, d] - y[c, d]|.
{%- endif %}
// Mapping   A workgroup owns a tile of {{ tile_rows }} rows and {{ tile_columns }} columns; an invocation owns {{ invocation_rows }} rows by
//           {{ invocation_columns }} columns. Workgroup id y counts row tiles, x column tiles; order.wgsl gives both a new order.
// Bounds    Rows, columns and features beyond the last are loaded as 0, and their results are not written.
//           Dispatches cover rows first_row .. rows; both windows start at index 0 of their bindings.
{%- if has_vectors %} The depth is a multiple of 4.{% endif %}
{%- if is_whole %} The depth is at most {{ depth_step }}.{% endif %}
// Numerics  One chain of additions per {{ chunk }} features, chunks added in order, whatever the tile: a result depends
//           on its two rows alone, and (r, c) has the bits of (c, r) where X is Y.
{%- if is_expanded %}
//           Where the result is below 1/16 of |x|^2 + |y|^2 it is computed again from differences of the originals;
//           where those are so small that their squares underflow, a third time from differences times 2^64.
{%- endif %}
//           Results are kept within `most` before the units are applied: the host refuses those that reach 2^127.

{{ MeasureParams }}

@group(0) @binding(0) var<storage, read> x: array<{{ operand }}>;
@group(0) @binding(1) var<storage, read> y: array<{{ operand }}>;
{% if is_expanded -%}
@group(0) @binding(2) var<storage, read> x_originals: array<f32>;
@group(0) @binding(3) var<storage, read> y_originals: array<f32>;
@group(0) @binding(4) var<storage, read> x_norms: array<f32>;
@group(0) @binding(5) var<storage, read> y_norms: array<f32>;
@group(0) @binding(6) var<storage, read_write> results: array<f32>;
@group(0) @binding(7) var<uniform> params: MeasureParams;
{%- elif is_counted -%}
@group(0) @binding(2) var<storage, read> x_norms: array<f32>;
@group(0) @binding(3) var<storage, read> y_norms: array<f32>;
@group(0) @binding(4) var<storage, read_write> results: array<f32>;
@group(0) @binding(5) var<uniform> params: MeasureParams;
{%- else -%}
@group(0) @binding(2) var<storage, read_write> results: array<f32>;
@group(0) @binding(3) var<uniform> params: MeasureParams;
{%- endif %}

fn x_row(row: u32) -> u32 {
    return row;
}

{% include "tile/product/load.wgsl" %}
{% if is_expanded %}
const DIGITS_LOST: f32 = 0.0625;
const TINY: f32 = 0x1p-100f;
const SMALL: f32 = 0x1p-80f;
const LIFT: f32 = 0x1p64f;
const LOWER: f32 = 0x1p-64f;

fn squared_difference(row: u32, column: u32, factor: f32) -> f32 {
    let x_start = row * params.depth * params.parts;
    let y_start = column * params.depth * params.parts;
    var sum = 0.0;
    for (var feature = 0u; feature < params.depth; feature += 1u) {
        var difference = (x_originals[x_start + feature] - y_originals[y_start + feature]) * factor;
        if params.parts == 2u {
            let low = params.depth + feature;
            difference += (x_originals[x_start + low] - y_originals[y_start + low]) * factor;
        }
        sum = fma(difference, difference, sum);
    }
    return sum;
}

fn from_square(square: f32) -> f32 {
{%- if root %}
    return min(sqrt(square), params.most) * params.units.x * params.units.y;
{%- else %}
    return min(square, params.most) * params.units.x * params.units.y;
{%- endif %}
}

fn finish(row: u32, column: u32, product: f32) -> f32 {
    let norms = x_norms[row] + y_norms[column];
    let square = norms - 2.0 * product;
    if square > DIGITS_LOST * norms + TINY {
        return from_square(square);
    }
    let direct = squared_difference(row, column, 1.0);
    if direct > SMALL {
        return from_square(direct);
    }
    let lifted = squared_difference(row, column, LIFT);
    if lifted == 0.0 {
        return 0.0;
    }
{%- if root %}
    return sqrt(lifted) * LOWER * params.units.x * params.units.y;
{%- else %}
    return lifted * (params.units.x * LOWER) * (params.units.y * LOWER);
{%- endif %}
}
{% elif is_counted %}
/// a / b, 0 where a is 0.
fn ratio(a: f32, b: f32) -> f32 {
    if a == 0.0 {
        return 0.0;
    }
    return a / b;
}

/// All counts are whole numbers below 2^24.
fn finish(row: u32, column: u32, both: f32) -> f32 {
    let depth = f32(params.depth);
    let x_only = x_norms[row] - both;
    let y_only = y_norms[column] - both;
    let only = x_only + y_only;
    switch params.kind {
        case 0u: { return ratio(only, both + only); }
        case 1u: { return ratio(only, 2.0 * both + only); }
        case 2u: { return 2.0 * only / (depth + only); }
        case 3u: { return (depth - both) / depth; }
        case 4u: { return ratio(2.0 * only, both + 2.0 * only); }
        case 5u: {
            let crossed = x_only * y_only;
            return ratio(2.0 * crossed, both * (depth - both - only) + crossed);
        }
        default: { return only / depth; }
    }
}
{% else %}
fn finish(row: u32, column: u32, combined: f32) -> f32 {
    return clamp(combined, -params.most, params.most) * params.units.x * params.units.y;
}
{% endif %}
fn store_results(row: u32, column: u32, combined: vec4<f32>) {
    if row >= params.rows {
        return;
    }
    let start = row * params.columns;
    {%- for c in range(4) %}
    if column + {{ c }}u < params.columns {
        results[start + column + {{ c }}u] = finish(row, column + {{ c }}u, combined.{{ "xyzw"[c] }});
    }
    {%- endfor %}
}

@compute @workgroup_size({{ invocations }})
fn measure(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let own_row = local / {{ threads_across }}u;
    let own_column = local % {{ threads_across }}u;
    let row_tiles = (params.rows - params.first_row + {{ tile_rows - 1 }}u) / {{ tile_rows }}u;
    let column_tiles = (params.columns + {{ tile_columns - 1 }}u) / {{ tile_columns }}u;
    {%- set tiles_across = "column_tiles" %}
    {%- include "tile/product/order.wgsl" %}
    let row_tile = params.first_row + row_place * {{ tile_rows }}u;
    let column_tile = column_place * {{ tile_columns }}u;
    let depth_begin = 0u;
    let depth_end = params.depth;
    {% include "tile/product/product.wgsl" %}
    let row = row_tile + own_row * {{ invocation_rows }}u;
    let column = column_tile + own_column * {{ invocation_columns }}u;
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    store_results(row + {{ r }}u, column + {{ 4 * v }}u, sum_{{ r }}_{{ v }});
    {%- endfor %}{% endfor %}
}
