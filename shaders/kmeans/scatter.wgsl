// Computes  the moves ordered by cluster: for each row whose label is not the one that it is summed under,
//           order[starts[label]++] = row, and order[starts[old]++] = row + 2^31 where it had an old one. Afterwards
//           starts[k] is the end of the moves of k, and the row counts as summed under its label.
// Mapping   One invocation owns one row.
// Bounds    Rows beyond the end do nothing, and so do rows whose label does not exist. The order has room for what
//           `count` counted. Row indices stay below 2^31.
// Numerics  Integers. The order within a cluster is not fixed; the sums taken over it are exact.

{{ RowsParams }}

@group(0) @binding(0) var<storage, read> labels: array<u32>;
@group(0) @binding(1) var<storage, read_write> summed: array<u32>;
@group(0) @binding(2) var<storage, read_write> starts: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> order: array<u32>;
@group(0) @binding(4) var<uniform> params: RowsParams;

@compute @workgroup_size(256)
fn scatter(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
           @builtin(local_invocation_index) local: u32) {
    let index = (workgroup.y * workgroups.x + workgroup.x) * 256u + local;
    if index >= params.rows {
        return;
    }
    let row = params.first_row + index;
    let label = labels[row];
    let old = summed[row];
    if label + 1u == old || label >= params.n_clusters {
        return;
    }
    order[atomicAdd(&starts[label], 1u)] = row;
    if old > 0u {
        order[atomicAdd(&starts[old - 1u], 1u)] = row | 0x80000000u;
    }
    summed[row] = label + 1u;
}
