// Computes  for each row an upper bound on the distance to the column of its least value and a lower bound on the distance to
//           every other column. With n the row's length, v its least two values, S what it shares with all columns and gap
//           as in certify.wgsl: n^2 + 2 (v[0] + gap) and n^2 + 2 (v[1] - S), and their roots, rounded outwards. A row that
//           is not certified gets bounds that decide nothing.
// Mapping   One invocation owns one row{% if listed %} of a list{% endif %}.
// Bounds    Rows beyond the end{% if listed %}, and beyond the end of the list,{% endif %} do nothing.
// Numerics  f32, rounded outwards (lengths.wgsl).
{{ CertifyParams }}

{{ Partial }}
{%- if listed %}

{{ Listed }}
{%- endif %}

@group(0) @binding(0) var<storage, read> partials: array<Partial>;
@group(0) @binding(1) var<storage, read> norms: array<f32>;
{%- if halves %}
/// Weight and constant of each column.
@group(0) @binding(2) var<storage, read> errors: array<vec2<f32>>;
{%- else %}
@group(0) @binding(2) var<storage, read> errors: array<f32>;
{%- endif %}
/// Upper and lower bound of each row.
@group(0) @binding(3) var<storage, read_write> reach_of: array<vec2<f32>>;
{%- if halves %}
@group(0) @binding(4) var<storage, read> residuals: array<f32>;
@group(0) @binding(5) var<uniform> params: CertifyParams;
{%- elif listed %}
/// The rows of this pass.
@group(0) @binding(4) var<storage, read> list: array<Listed>;
/// The first is how many rows the list has.
@group(0) @binding(5) var<storage, read> counters: array<u32, 4>;
@group(0) @binding(6) var<uniform> params: CertifyParams;
{%- else %}
@group(0) @binding(4) var<uniform> params: CertifyParams;
{%- endif %}

{% include "tile/nearest/merged.wgsl" %}

{% include "tile/nearest/lengths.wgsl" %}

@compute @workgroup_size(256)
fn reach(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let index = workgroup.x * 256u + local;
    {%- if listed %}
    let rows = min(params.rows, counters[0] - params.first_row);
    {%- else %}
    let rows = params.rows;
    {%- endif %}
    if index >= rows {
        return;
    }
    let merged = merged_partial(index);
    {%- if listed %}
    let row = list[params.first_row + index].row;
    {%- else %}
    let row = params.first_row + index;
    {%- endif %}
    let norm = norms[row];
    let gap = {% if halves %}gap_of(merged.column, norm, residuals[row]){% else %}gap_of(merged.column, norm){% endif %};
    if !(merged.second - merged.best > gap) {
        reach_of[row] = vec2<f32>(3e38, 0.0);
        return;
    }
    reach_of[row] = vec2<f32>(length_above(norm, merged.best, gap), length_below(norm, merged.second));
}
