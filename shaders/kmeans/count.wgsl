// Computes  counts[k] += number of rows that enter or leave the sums of cluster k: rows i whose label is not the one they
//           are summed under enter k = labels[i] and leave k = summed[i] - 1, where that exists.
// Mapping   A workgroup owns {{ rows_per_workgroup }} rows. {% if shared_clusters > 0 %}It counts in workgroup memory first, for at most
//           {{ shared_clusters }} clusters.{% else %}It counts in the result at once: with many clusters few rows meet.{% endif %}
// Bounds    Rows beyond the end do nothing, and so do rows whose label does not exist.
// Numerics  Integers.

{{ RowsParams }}

@group(0) @binding(0) var<storage, read> labels: array<u32>;
@group(0) @binding(1) var<storage, read> summed: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> params: RowsParams;
{% if shared_clusters > 0 %}
var<workgroup> shared_counts: array<atomic<u32>, {{ shared_clusters }}>;
{% endif %}
{%- set target = "shared_counts" if shared_clusters > 0 else "counts" %}
@compute @workgroup_size(256)
fn count(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    {%- if shared_clusters > 0 %}
    for (var k = local; k < params.n_clusters; k += 256u) {
        atomicStore(&shared_counts[k], 0u);
    }
    workgroupBarrier();
    {%- endif %}
    let first = workgroup.x * {{ rows_per_workgroup }}u;
    let last = min(first + {{ rows_per_workgroup }}u, params.rows);
    for (var row = params.first_row + first + local; row < params.first_row + last; row += 256u) {
        let label = labels[row];
        let old = summed[row];
        if label + 1u != old && label < params.n_clusters {
            atomicAdd(&{{ target }}[label], 1u);
            if old > 0u {
                atomicAdd(&{{ target }}[old - 1u], 1u);
            }
        }
    }
    {%- if shared_clusters > 0 %}
    workgroupBarrier();
    for (var k = local; k < params.n_clusters; k += 256u) {
        let own = atomicLoad(&shared_counts[k]);
        if own > 0u {
            atomicAdd(&counts[k], own);
        }
    }
    {%- endif %}
}
