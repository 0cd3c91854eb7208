// Computes  an order of the rows by label: order[starts[label]++] = row.
// Mapping   One invocation owns one row.
// Bounds    Rows beyond the end do nothing.
// Numerics  Integers. The order within a label is not fixed; the sums taken over it are exact.
// Mirror    crate::kmeans::gpu_sums::RowsParams

struct RowsParams {
    rows: u32,
    n_clusters: u32,
}

@group(0) @binding(0) var<storage, read> labels: array<u32>;
@group(0) @binding(1) var<storage, read_write> starts: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read_write> order: array<u32>;
@group(0) @binding(3) var<uniform> params: RowsParams;

@compute @workgroup_size(256)
fn scatter(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
           @builtin(local_invocation_index) local: u32) {
    let row = (workgroup.y * workgroups.x + workgroup.x) * 256u + local;
    if row < params.rows {
        order[atomicAdd(&starts[labels[row]], 1u)] = row;
    }
}
