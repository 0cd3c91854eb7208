// Computes  what a pass came to, as one record: rows that changed, inertia = total + the sum of the clusters' parts, and shift; and whether
//           the burst goes on: not where a cluster is empty, where no label changed after the first pass, where shift <=
//           tolerance, or where a screen left too many rows.
// Mapping   One workgroup. Invocation i adds the clusters i, i + 64, ..., then one invocation for each sum adds those 64.
// Bounds    Clusters beyond the end do nothing. A burst that has ended is left as it is.
// Numerics  common/soft.wgsl: the operations of f64 that the host does, in its order.

{{ ControlParams }}

{{ Standing }}

{{ Record }}

@group(0) @binding(0) var<storage, read> parts: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> counters: array<u32, 4>;
@group(0) @binding(2) var<storage, read_write> standing: Standing;
@group(0) @binding(3) var<storage, read_write> history: array<Record>;
@group(0) @binding(4) var<storage, read_write> sizes: array<vec4<u32>>;
@group(0) @binding(5) var<uniform> params: ControlParams;

{% include "common/soft.wgsl" %}

var<workgroup> shared_status: u32;
var<workgroup> shared_is_empty: atomic<u32>;
var<workgroup> shared_parts: array<vec4<u32>, 64>;
var<workgroup> shared_sums: array<vec2<u32>, 2>;

@compute @workgroup_size(64)
fn control(@builtin(local_invocation_index) local: u32) {
    if local == 0u {
        shared_status = standing.status;
        atomicStore(&shared_is_empty, 0u);
    }
    if workgroupUniformLoad(&shared_status) != {{ runs }}u {
        return;
    }
    var own = vec4<u32>();
    for (var cluster = local; cluster < params.n_clusters; cluster += 64u) {
        let part = parts[cluster];
        if part.w == {{ no_rows }}u {
            atomicStore(&shared_is_empty, 1u);
        }
        own = vec4<u32>(soft_add(own.xy, part.xy), soft_add(own.zw, part.zw));
    }
    shared_parts[local] = own;
    workgroupBarrier();
    if local < 2u {
        var sum = select(vec2<u32>(), params.total, local == 1u);
        for (var at = 0u; at < 64u; at += 1u) {
            sum = soft_add(sum, select(shared_parts[at].xy, shared_parts[at].zw, local == 1u));
        }
        shared_sums[local] = sum;
    }
    workgroupBarrier();
    if local == 0u {
        let shift = shared_sums[0];
        let inertia = select(shared_sums[1], vec2<u32>(), (shared_sums[1].y >> 31u) == 1u);
        let changed = standing.changed + counters[1] + counters[3];
        let is_settled = standing.is_first == 0u && changed == 0u;
        let is_near = !soft_less(params.tolerance, shift);
        var status = select({{ runs }}u, {{ converged }}u, is_settled || is_near);
        let listed = standing.listed + counters[0];
        status = select(status, {{ unscreened }}u, status == {{ runs }}u && listed > params.most_listed);
        status = select(status, {{ empty }}u, atomicLoad(&shared_is_empty) != 0u);
        history[standing.turn % {{ ring }}u] =
            Record({{ statuses }}u * standing.turn + status, changed, listed,
                   standing.left + counters[params.counter], shift, inertia);
        standing = Standing(status, standing.turn + 1u, 0u, 0u, 0u, 0u);
        counters = array<u32, 4>();
        shared_status = status;
    }
    if workgroupUniformLoad(&shared_status) == {{ runs }}u {
        return;
    }
    for (var step = local; step < {{ most_dispatches }}u; step += 64u) {
        sizes[step] = vec4<u32>();
    }
}
