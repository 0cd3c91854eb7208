// Computes  result[r, c] = metric(x row r, y row c), for a window of X and a window of Y, row-major.
//           {% if combine == "expanded" %}Here |x|^2 + |y|^2 - 2 sum_d x[r, d] y[c, d]{% if root %}, and its root{% endif %}.
{%- elif combine == "product" %}Here sum_d x[r, d] y[c, d].
{%- elif combine == "manhattan" %}Here sum_d |x[r, d] - y[c, d]|.
{%- else %}Here max_d |x[r, d] - y[c, d]|.
{%- endif %}
// Mapping   A workgroup owns a tile of {{ tile }} x {{ tile }} results, an invocation 4 x 4 of them; local x runs over columns.
//           Panels of 16 features stand in workgroup memory, feature after feature, four rows to a vector.
// Bounds    Rows, columns and features beyond the last are read as 0, and their results are not written.
//           Dispatches cover rows first_row .. rows; both windows start at index 0 of their bindings.
// Numerics  One chain of additions per 64 features, chunks added in order: a result depends on its two rows alone,
//           and (r, c) has the bits of (c, r) where X is Y.
{%- if combine == "expanded" %}
//           Where the result is below 1/16 of |x|^2 + |y|^2 it is computed again from differences of the originals;
//           where those are so small that their squares underflow, a third time from differences times 2^64.
{%- endif %}
//           Results are kept within `most` before the units are applied: the host refuses those that reach 2^127.
// Mirror    crate::distance::gpu::MeasureParams

struct MeasureParams {
  // Row of the window that the first workgroup starts with.
  first_row: u32,
  // End of the rows, and rows of the Y window.
  rows: u32,
  columns: u32,
  // Features.
  depth: u32,
  // A value is multiplied by one after the other.
  units: vec2<f32>,
  // Largest magnitude of a value before the units.
  most: f32,
}

@group(0) @binding(0) var<storage, read> x_rows: array<f32>;
@group(0) @binding(1) var<storage, read> y_rows: array<f32>;
{% if combine == "expanded" -%}
@group(0) @binding(2) var<storage, read> x_originals: array<f32>;
@group(0) @binding(3) var<storage, read> y_originals: array<f32>;
@group(0) @binding(4) var<storage, read> x_norms: array<f32>;
@group(0) @binding(5) var<storage, read> y_norms: array<f32>;
@group(0) @binding(6) var<storage, read_write> results: array<f32>;
@group(0) @binding(7) var<uniform> params: MeasureParams;
{%- else -%}
@group(0) @binding(2) var<storage, read_write> results: array<f32>;
@group(0) @binding(3) var<uniform> params: MeasureParams;
{%- endif %}

const TILE: u32 = {{ tile }}u;
const LANES: u32 = {{ lanes }}u;
const STEP: u32 = 16u;
// One vector of padding, so that neighbouring features lie in different memory banks.
const PITCH: u32 = {{ lanes + 1 }}u;

var<workgroup> shared_x: array<vec4<f32>, {{ 16 * (lanes + 1) }}>;
var<workgroup> shared_y: array<vec4<f32>, {{ 16 * (lanes + 1) }}>;

fn x_at(row: u32, feature: u32) -> f32 {
  if (row < params.rows && feature < params.depth) { return x_rows[row * params.depth + feature]; }
  return 0.0;
}

fn y_at(column: u32, feature: u32) -> f32 {
  if (column < params.columns && feature < params.depth) { return y_rows[column * params.depth + feature]; }
  return 0.0;
}
{% if combine == "expanded" %}
const DIGITS_LOST: f32 = 0.0625;
const TINY: f32 = 0x1p-100f;
const SMALL: f32 = 0x1p-80f;
const LIFT: f32 = 0x1p64f;
const LOWER: f32 = 0x1p-64f;

fn squared_difference(row: u32, column: u32, factor: f32) -> f32 {
  let x_start = row * params.depth;
  let y_start = column * params.depth;
  var sum = 0.0;
  for (var feature = 0u; feature < params.depth; feature += 1u) {
    let difference = (x_originals[x_start + feature] - y_originals[y_start + feature]) * factor;
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
  if (square > DIGITS_LOST * norms + TINY) { return from_square(square); }
  let direct = squared_difference(row, column, 1.0);
  if (direct > SMALL) { return from_square(direct); }
  let lifted = squared_difference(row, column, LIFT);
  if (lifted == 0.0) { return 0.0; }
{%- if root %}
  return sqrt(lifted) * LOWER * params.units.x * params.units.y;
{%- else %}
  return lifted * (params.units.x * LOWER) * (params.units.y * LOWER);
{%- endif %}
}
{% else %}
fn finish(row: u32, column: u32, combined: f32) -> f32 {
  return clamp(combined, -params.most, params.most) * params.units.x * params.units.y;
}
{% endif %}
fn store(row: u32, column: u32, combined: vec4<f32>) {
  if (row >= params.rows) { return; }
  let start = row * params.columns;
{%- for lane in range(4) %}
  if (column + {{ lane }}u < params.columns) {
    results[start + column + {{ lane }}u] = finish(row, column + {{ lane }}u, combined[{{ lane }}]);
  }
{%- endfor %}
}

@compute @workgroup_size({{ lanes }}, {{ lanes }})
fn measure(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(local_invocation_id) local: vec3<u32>,
) {
  let first_row = params.first_row + workgroup.y * TILE;
  let first_column = workgroup.x * TILE;
  let invocation = local.y * LANES + local.x;
{%- for row in range(4) %}
  var total_{{ row }} = vec4<f32>(0.0);
  var chunk_{{ row }} = vec4<f32>(0.0);
{%- endfor %}
  let steps = (params.depth + STEP - 1u) / STEP;
  for (var step = 0u; step < steps; step += 1u) {
{%- for load in range(loads) %}
    {
      let slot = invocation + {{ load * lanes * lanes }}u;
      let d = slot % STEP;
      let vector = slot / STEP;
      let feature = step * STEP + d;
      let row = first_row + vector * 4u;
      let column = first_column + vector * 4u;
      shared_x[d * PITCH + vector] = vec4<f32>(
        x_at(row, feature), x_at(row + 1u, feature), x_at(row + 2u, feature), x_at(row + 3u, feature));
      shared_y[d * PITCH + vector] = vec4<f32>(
        y_at(column, feature), y_at(column + 1u, feature), y_at(column + 2u, feature), y_at(column + 3u, feature));
    }
{%- endfor %}
    workgroupBarrier();
{%- for d in range(16) %}
    {
      let x = shared_x[{{ d }}u * PITCH + local.y];
      let y = shared_y[{{ d }}u * PITCH + local.x];
{%- for row in range(4) %}
{%- if combine == "expanded" or combine == "product" %}
      chunk_{{ row }} = fma(vec4<f32>(x[{{ row }}]), y, chunk_{{ row }});
{%- elif combine == "manhattan" %}
      chunk_{{ row }} = chunk_{{ row }} + abs(vec4<f32>(x[{{ row }}]) - y);
{%- else %}
      chunk_{{ row }} = max(chunk_{{ row }}, abs(vec4<f32>(x[{{ row }}]) - y));
{%- endif %}
{%- endfor %}
    }
{%- endfor %}
    workgroupBarrier();
    if ((step & 3u) == 3u || step + 1u == steps) {
{%- for row in range(4) %}
{%- if combine == "chebyshev" %}
      total_{{ row }} = max(total_{{ row }}, chunk_{{ row }});
{%- else %}
      total_{{ row }} = total_{{ row }} + chunk_{{ row }};
{%- endif %}
      chunk_{{ row }} = vec4<f32>(0.0);
{%- endfor %}
    }
  }
  let row = first_row + local.y * 4u;
  let column = first_column + local.x * 4u;
{%- for row in range(4) %}
  store(row + {{ row }}u, column, total_{{ row }});
{%- endfor %}
}
