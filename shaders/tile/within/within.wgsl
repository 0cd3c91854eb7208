// Computes  for each row the columns j with v[j] = half_norm[j] - sum over d of x[row, d] * y[j, d] at most the row's upper
//           limit: those that are below its lower limit with all their error are counted as sure, the others are counted
//           and listed as pairs of row and column, in any order.
// Mapping   A workgroup owns {{ tile_rows }} rows and one column tile (workgroup id y); an invocation owns
//           {{ invocation_rows }} rows by {{ invocation_columns }} columns, and takes room for all its pairs at once.
// Bounds    Rows, columns and depths beyond the end are loaded as 0; rows beyond the end have a limit below any value;
//           absent columns have a half norm above any limit. Pairs beyond the room are only counted; there are fewer than
//           2^32 between two clearings.
{%- if has_vectors %} The depth is a multiple of 4.{% endif %}
{%- if is_whole %} The depth is at most {{ depth_step }}.{% endif %}
// Numerics  f32. One chain of additions per {{ chunk }} features; the chunks are added in order. A column counts as sure with
//           2^-20 of what was added to its value to spare: more than four roundings, in whatever order.

{{ WithinParams }}

{{ Limits }}

{% include "tile/product/step_operands.wgsl" %}

@group(0) @binding(3) var<storage, read> limits: array<Limits>;
/// The number of pairs, then for each row how many are listed and how many are sure.
@group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read_write> pairs: array<vec2<u32>>;
@group(0) @binding(6) var<uniform> params: WithinParams;

/// Bit 0: listed. Bit 1: sure.
fn verdict(value: f32, norm: vec2<f32>, column: u32, limit: Limits) -> u32 {
    if !(value <= limit.upper) || column == limit.left_out {
        return 0u;
    }
    let slack = (abs(norm.x) + abs(value)) * 0x1p-20f;
    return select(1u, 2u, value + 2.0 * norm.y + slack <= limit.lower);
}

{% include "tile/within/pairs.wgsl" %}

@compute @workgroup_size({{ invocations }})
fn within(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    {%- for r in range(invocation_rows) %}
    // One bit per column.
    var listed_{{ r }} = 0u;
    var sure_{{ r }} = 0u;
    {%- endfor %}
    {%- set no_limit = "Limits(-3e38, -3e38, 0xffffffffu)" %}
    {%- include "tile/product/step.wgsl" %}
    {%- for v in range(invocation_columns // 4) %}{% for c in range(4) %}
    {
        let norm = norms[column + {{ 4 * v + c }}u];
        let number = params.first_column + column + {{ 4 * v + c }}u;
        {%- for r in range(invocation_rows) %}
        {
            let found = verdict(norm.x - sum_{{ r }}_{{ v }}.{{ "xyzw"[c] }}, norm, number, limit_{{ r }});
            listed_{{ r }} |= (found & 1u) << {{ 4 * v + c }}u;
            sure_{{ r }} |= (found >> 1u) << {{ 4 * v + c }}u;
        }
        {%- endfor %}
    }
    {%- endfor %}{% endfor %}
    var total = 0u;
    {%- for r in range(invocation_rows) %}
    add_counts(params.first_row + row_{{ r }}, countOneBits(listed_{{ r }}), countOneBits(sure_{{ r }}));
    total += countOneBits(listed_{{ r }});
    {%- endfor %}
    if total == 0u {
        return;
    }
    var slot = atomicAdd(&counts[0], total);
    {%- for r in range(invocation_rows) %}
    put_pairs(slot, params.first_row + row_{{ r }}, params.first_column + column, listed_{{ r }});
    slot += countOneBits(listed_{{ r }});
    {%- endfor %}
}
