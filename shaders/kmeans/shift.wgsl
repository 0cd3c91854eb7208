// Computes  for each row its bounds after the centroids moved: u + shift[label], and l less the largest shift of the others.
// Mapping   One invocation owns one row. Workgroups count along x, then y.
// Bounds    Rows beyond the end do nothing, nor do rows without a label.
// Numerics  f32, widened by 2^-20 of the results, which is more than their roundings.

{{ ShiftParams }}

@group(0) @binding(0) var<storage, read> labels: array<u32>;
/// At least how far each centroid moved.
@group(0) @binding(1) var<storage, read> shifts: array<f32>;
/// Upper and lower bound of each row.
@group(0) @binding(2) var<storage, read_write> reach_of: array<vec2<f32>>;
@group(0) @binding(3) var<uniform> params: ShiftParams;

@compute @workgroup_size(256)
fn shift(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let row = (workgroup.x + workgroup.y * params.across) * 256u + local;
    if row >= params.rows {
        return;
    }
    let label = labels[row];
    if label >= params.n_clusters {
        return;
    }
    let before = reach_of[row];
    let of_others = select(params.largest, params.second, label == params.farthest);
    let upper = (before.x + shifts[label]) * (1.0 + 0x1p-20f);
    let lower = max((before.y - of_others) * (1.0 - 0x1p-20f), 0.0);
    reach_of[row] = vec2<f32>(upper, lower);
}
