// Computes  for each row: the columns j with v[j] = half_norm[j] - sum over d of x[row, d] * y[j, d] at most the row's
//           limit, with v[j] and v[j] + 2 errors[j], added to the row's list in any order.
// Mapping   A workgroup owns {{ tile_rows }} rows and one column tile (workgroup id y); an invocation owns
//           {{ invocation_rows }} rows by {{ invocation_columns }} columns.
// Bounds    Rows, columns and depths beyond the end are loaded as 0; rows beyond the end have a limit below any value;
//           absent columns have a half norm above any limit. Columns beyond the room of a list are only counted.
{%- if has_vectors %} The depth is a multiple of 4.{% endif %}
{%- if is_whole %} The depth is at most {{ depth_step }}.{% endif %}
// Numerics  f32. One chain of additions per {{ chunk }} features; the chunks are added in order. What v[j] + 2 errors[j]
//           rounds is covered where limits are lowered (tighten.wgsl).

{{ CollectParams }}

{% include "tile/product/step_operands.wgsl" %}

@group(0) @binding(3) var<storage, read> limits: array<f32>;
/// For each row the length of its list, then its entries: value, upper value, column.
@group(0) @binding(4) var<storage, read_write> lists: array<atomic<u32>>;
@group(0) @binding(5) var<uniform> params: CollectParams;

{% include "tile/collect/entries.wgsl" %}

@compute @workgroup_size({{ invocations }})
fn collect(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    {%- set no_limit = "-3e38" %}
    {%- include "tile/product/step.wgsl" %}
    {%- for v in range(invocation_columns // 4) %}{% for c in range(4) %}
    {
        let norm = norms[column + {{ 4 * v + c }}u];
        let number = params.first_column + column + {{ 4 * v + c }}u;
        {%- for r in range(invocation_rows) %}
        {
            let value = norm.x - sum_{{ r }}_{{ v }}.{{ "xyzw"[c] }};
            if value <= limit_{{ r }} {
                add_entry(params.first_row + row_{{ r }}, number, value, value + 2.0 * norm.y);
            }
        }
        {%- endfor %}
    }
    {%- endfor %}{% endfor %}
}
