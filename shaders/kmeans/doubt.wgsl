// Computes  a list of the rows whose bounds do not decide their label: not u * margin < l.
// Mapping   One invocation owns one row. Workgroups count along x, then y.
// Bounds    Rows beyond the end do nothing. The list has room for every row; a row without a label is listed.
// Numerics  f32; the margin covers the product's rounding. The order of the list is not fixed; nothing depends on it.

{{ DoubtParams }}

{{ Listed }}

@group(0) @binding(0) var<storage, read> labels: array<u32>;
/// Upper and lower bound of each row.
@group(0) @binding(1) var<storage, read> reach_of: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> left: array<Listed>;
/// The first is how many rows are left.
@group(0) @binding(3) var<storage, read_write> counters: array<atomic<u32>, 4>;
@group(0) @binding(4) var<uniform> params: DoubtParams;

{% include "kmeans/decided.wgsl" %}

var<workgroup> shared_count: atomic<u32>;
var<workgroup> shared_first: u32;

@compute @workgroup_size(256)
fn doubt(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    if local == 0u {
        atomicStore(&shared_count, 0u);
    }
    workgroupBarrier();
    let row = (workgroup.x + workgroup.y * params.across) * 256u + local;
    var is_open = false;
    var label = 0u;
    var slot = 0u;
    if row < params.rows {
        label = labels[row];
        is_open = label >= params.n_clusters || !is_decided(reach_of[row]);
        if is_open {
            slot = atomicAdd(&shared_count, 1u);
        }
    }
    workgroupBarrier();
    if local == 0u {
        let count = atomicLoad(&shared_count);
        shared_first = 0u;
        if count > 0u {
            shared_first = atomicAdd(&counters[0], count);
        }
    }
    let first = workgroupUniformLoad(&shared_first);
    if is_open {
        left[first + slot] = Listed(row, label, label, 0.0);
    }
}
