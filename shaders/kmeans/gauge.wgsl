// Computes  the distance of each row that its bounds leave open to the centroid of its label, sqrt(sum over d of (x[row, d] -
//           c[label, d])^2), from above: the row's upper bound falls to it.
// Mapping   A workgroup owns {{ rows }} rows, {{ lanes }} invocations each, which take every {{ lanes }}th feature. Workgroups count along x, then y.
// Bounds    Rows beyond the end, rows without a label, and rows that are decided are not read.
// Numerics  f32. `slack` covers relative roundings, those of the sum and the root included; the centroid was rounded by at most
//           2^-24 of its length, which is at most the row's length and the distance; squares that underflow are below `least`.

{{ GaugeParams }}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> norms: array<f32>;
@group(0) @binding(2) var<storage, read> centroids: array<f32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
/// Upper and lower bound of each row.
@group(0) @binding(4) var<storage, read_write> reach_of: array<vec2<f32>>;
@group(0) @binding(5) var<uniform> params: GaugeParams;

{% include "kmeans/decided.wgsl" %}

var<workgroup> shared_sums: array<f32, {{ rows * lanes }}>;

@compute @workgroup_size({{ rows * lanes }})
fn gauge(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let lane = local % {{ lanes }}u;
    let row = (workgroup.x + workgroup.y * params.across) * {{ rows }}u + local / {{ lanes }}u;
    var is_open = false;
    var bounds = vec2<f32>();
    var sum = 0.0;
    if row < params.rows {
        let label = labels[row];
        bounds = reach_of[row];
        is_open = label < params.n_clusters && !is_decided(bounds);
        if is_open {
            let of_row = row * params.depth;
            let of_centroid = label * params.depth;
            for (var d = lane; d < params.depth; d += {{ lanes }}u) {
                let difference = x[of_row + d] - centroids[of_centroid + d];
                sum = fma(difference, difference, sum);
            }
        }
    }
    shared_sums[local] = sum;
    {%- for half in halves %}
    workgroupBarrier();
    if lane < {{ half }}u {
        shared_sums[local] += shared_sums[local + {{ half }}u];
    }
    {%- endfor %}
    if is_open && lane == 0u {
        let distance = sqrt(shared_sums[local]) * (1.0 + params.slack) + params.least;
        let upper = distance + (norms[row] + distance) * 0x1p-22f;
        reach_of[row] = vec2<f32>(min(bounds.x, upper), bounds.y);
    }
}
