// Computes  how near a few columns come to each row. The row's lower bound falls to at most its distance to the nearest of them that
//           is not its own; where the nearest is, the upper bound falls to at least the distance to that. Both come from the
//           least two values of the row among the few, as in reach.wgsl.
// Mapping   One invocation owns one row.
// Bounds    Rows beyond the end do nothing.
// Numerics  f32, rounded outwards (lengths.wgsl).
{{ CertifyParams }}

{{ Partial }}

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
@group(0) @binding(4) var<storage, read> nearest: array<u32>;
/// The index of each column among all.
@group(0) @binding(5) var<storage, read> given: array<u32>;
{%- if halves %}
@group(0) @binding(6) var<storage, read> residuals: array<f32>;
@group(0) @binding(7) var<uniform> params: CertifyParams;
{%- else %}
@group(0) @binding(6) var<uniform> params: CertifyParams;
{%- endif %}

{% include "tile/nearest/merged.wgsl" %}

{% include "tile/nearest/lengths.wgsl" %}

@compute @workgroup_size(256)
fn approach(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let index = workgroup.x * 256u + local;
    if index >= params.rows {
        return;
    }
    let merged = merged_partial(index);
    let row = params.first_row + index;
    let norm = norms[row];
    var bounds = reach_of[row];
    if given[merged.column] == nearest[row] {
        let gap = {% if halves %}gap_of(merged.column, norm, residuals[row]){% else %}gap_of(merged.column, norm){% endif %};
        bounds.x = min(bounds.x, length_above(norm, merged.best, gap));
        bounds.y = min(bounds.y, length_below(norm, merged.second));
    } else {
        bounds.y = min(bounds.y, length_below(norm, merged.best));
    }
    reach_of[row] = bounds;
}
