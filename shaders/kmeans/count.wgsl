// Computes  counts[k] += number of rows i with labels[i] = k.
// Mapping   A workgroup owns {{ rows_per_workgroup }} rows. {% if shared_clusters > 0 %}It counts in workgroup memory first, for at most
//           {{ shared_clusters }} clusters.{% else %}It counts in the result at once: with many clusters few rows meet.{% endif %}
// Bounds    Rows beyond the end do nothing; every label is below n_clusters.
// Numerics  Integers.
// Mirror    crate::kmeans::gpu_sums::RowsParams

struct RowsParams {
    rows: u32,
    n_clusters: u32,
}

@group(0) @binding(0) var<storage, read> labels: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(2) var<uniform> params: RowsParams;
{% if shared_clusters > 0 %}
var<workgroup> shared_counts: array<atomic<u32>, {{ shared_clusters }}>;
{% endif %}
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
    for (var row = first + local; row < last; row += 256u) {
        {%- if shared_clusters > 0 %}
        atomicAdd(&shared_counts[labels[row]], 1u);
        {%- else %}
        atomicAdd(&counts[labels[row]], 1u);
        {%- endif %}
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
