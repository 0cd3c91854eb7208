// Computes  the nearest column of each row, as far as the tile knows, from the partial results of its splits, and whether the error bound certifies it:
//           second - best > gap. {% if halves %}gap = 2 (w * weight + constant + square * norm^2), with the best column's weight and
//           constant and w = residual + ratio * norm.{% else %}gap = 2 (min(square * norm^2, slope * norm + constant) + error of the best
//           column).{% endif %} Uncertified rows are left, with the limit inside which their nearest column must lie. Certified
//           rows whose nearest column is another than before are counted.
// Mapping   One invocation owns one row{% if listed %} of a list{% endif %}.
// Bounds    Rows beyond the end{% if listed %}, and beyond the end of the list,{% endif %} do nothing. There is room for every row that is left.
// Numerics  f32; the slack for these operations is part of the parameters. Splits are merged in order. The order of
//           the rows that are left is not fixed; nothing depends on it.

{{ CertifyParams }}

{{ Partial }}

{{ Listed }}

@group(0) @binding(0) var<storage, read> partials: array<Partial>;
@group(0) @binding(1) var<storage, read> norms: array<f32>;
@group(0) @binding(2) var<storage, read> given: array<u32>;
{%- if halves %}
/// Weight and constant of each column.
@group(0) @binding(3) var<storage, read> errors: array<vec2<f32>>;
{%- else %}
@group(0) @binding(3) var<storage, read> errors: array<f32>;
{%- endif %}
@group(0) @binding(4) var<storage, read_write> nearest: array<u32>;
@group(0) @binding(5) var<storage, read_write> left: array<Listed>;
/// Rows left and certified rows that changed, of a pass over a window; then the same of a pass over what that left.
@group(0) @binding(6) var<storage, read_write> counters: array<atomic<u32>, 4>;
{%- if halves %}
@group(0) @binding(7) var<storage, read> residuals: array<f32>;
@group(0) @binding(8) var<uniform> params: CertifyParams;
{%- elif listed %}
/// The rows of this pass.
@group(0) @binding(7) var<storage, read> list: array<Listed>;
@group(0) @binding(8) var<uniform> params: CertifyParams;
{%- else %}
@group(0) @binding(7) var<uniform> params: CertifyParams;
{%- endif %}

{% include "tile/nearest/merged.wgsl" %}

var<workgroup> shared_changed: atomic<u32>;

@compute @workgroup_size(256)
fn certify(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let index = workgroup.x * 256u + local;
    if local == 0u {
        atomicStore(&shared_changed, 0u);
    }
    workgroupBarrier();
    {%- if listed %}
    // As many rows as the tier before listed, however many were expected.
    let rows = min(params.rows, atomicLoad(&counters[0]) - params.first_row);
    {%- else %}
    let rows = params.rows;
    {%- endif %}
    if index < rows {
        let merged = merged_partial(index);
        {%- if listed %}
        let row = list[params.first_row + index].row;
        let before = list[params.first_row + index].before;
        {%- else %}
        let row = params.first_row + index;
        let before = nearest[row];
        {%- endif %}
        let norm = norms[row];
        let gap = {% if halves %}gap_of(merged.column, norm, residuals[row]){% else %}gap_of(merged.column, norm){% endif %};
        let column = given[merged.column];
        nearest[row] = column;
        if merged.second - merged.best > gap {
            if column != before {
                atomicAdd(&shared_changed, 1u);
            }
        } else {
            let slot = atomicAdd(&counters[{{ 2 if listed else 0 }}], 1u);
            left[slot] = Listed(row, column, before, merged.best + gap);
        }
    }
    workgroupBarrier();
    if local == 0u {
        let changed = atomicLoad(&shared_changed);
        if changed > 0u {
            atomicAdd(&counters[{{ 3 if listed else 1 }}], changed);
        }
    }
}
