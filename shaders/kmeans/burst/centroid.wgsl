// Computes  of each cluster k: {% if spherical %}its direction c'[k, d] = S[k, d] * 2^exponents[d] / |S[k] * 2^exponents|{% else %}its mean c'[k, d] = S[k, d] * 2^exponents[d] / W[k]{% endif %}, |c' - c|^2, and its part of the inertia under the
//           old centroid, W |c|^2 - 2 sum over d of c[d] S[d]. A cluster without rows{% if spherical %}, or whose
//           sum is 0,{% endif %} keeps its centroid{% if spherical %}; one without rows{% else %} and{% endif %} is reported.
// Mapping   A workgroup owns a cluster; an invocation makes the products of every 64th feature, then eight for each of three sums
//           add every eighth.
// Bounds    Features beyond the depth do nothing.
// Numerics  common/soft.wgsl: the operations of f64 that the host does, in its order: sums in eight interleaved parts, those in order.

{{ CentroidParams }}

@group(0) @binding(0) var<storage, read> sums: array<vec2<u32>>;
/// Rows of each cluster.
@group(0) @binding(1) var<storage, read> totals: array<u32>;
@group(0) @binding(2) var<storage, read> exponents: array<i32>;
@group(0) @binding(3) var<storage, read_write> centroids: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> before: array<vec2<u32>>;
/// Of each cluster the squared shift and the part of the inertia, or that it has no rows.
@group(0) @binding(5) var<storage, read_write> parts: array<vec4<u32>>;
@group(0) @binding(6) var<uniform> params: CentroidParams;

{% include "common/soft.wgsl" %}

/// Cross products, squares of the old centroid, squares of the shift.
var<workgroup> shared_terms: array<vec2<u32>, 192>;
{%- if spherical %}
var<workgroup> shared_length: vec2<u32>;
{%- endif %}

@compute @workgroup_size(64)
fn centroid(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let cluster = workgroup.x;
    let of_sums = cluster * params.features;
    let start = cluster * params.depth;
    {%- if weighted %}
    let units = sums[of_sums + params.depth];
    let has_rows = any(units != vec2<u32>()) && (units.y >> 31u) == 0u;
    let weight = soft_scale(soft_from_i64(units), exponents[params.depth]);
    {%- else %}
    let has_rows = totals[cluster] > 0u;
    let weight = soft_from_u32(totals[cluster]);
    {%- endif %}
    {%- if spherical %}
    var squares = vec2<u32>();
    for (var block = 0u; block < params.depth; block += 64u) {
        let wide = min(64u, params.depth - block);
        if local < wide {
            let total = soft_scale(soft_from_i64(sums[of_sums + block + local]), exponents[block + local]);
            shared_terms[local] = soft_multiply(total, total);
        }
        workgroupBarrier();
        if local == 0u {
            for (var at = 0u; at < wide; at += 1u) {
                squares = soft_add_positive(squares, shared_terms[at]);
            }
        }
        workgroupBarrier();
    }
    if local == 0u {
        shared_length = soft_root(squares);
    }
    workgroupBarrier();
    let divisor = shared_length;
    let moves = has_rows && any(divisor != vec2<u32>());
    {%- else %}
    let divisor = weight;
    let moves = has_rows;
    {%- endif %}
    let sum_of = local / 8u;
    var part = vec2<u32>();
    for (var block = 0u; block < params.depth; block += 64u) {
        let wide = min(64u, params.depth - block);
        if local < wide {
            let d = block + local;
            let old = centroids[start + d];
            let total = soft_scale(soft_from_i64(sums[of_sums + d]), exponents[d]);
            var mean = old;
            if moves {
                mean = soft_divide(total, divisor);
            }
            before[start + d] = old;
            centroids[start + d] = mean;
            let moved = soft_subtract(mean, old);
            shared_terms[local] = soft_multiply(old, total);
            shared_terms[64u + local] = soft_multiply(old, old);
            shared_terms[128u + local] = soft_multiply(moved, moved);
        }
        workgroupBarrier();
        if sum_of < 3u {
            for (var at = local % 8u; at < wide; at += 8u) {
                part = soft_add(part, shared_terms[64u * sum_of + at]);
            }
        }
        workgroupBarrier();
    }
    if sum_of < 3u {
        shared_terms[local] = part;
    }
    workgroupBarrier();
    if local < 3u {
        var sum = shared_terms[8u * local];
        for (var at = 1u; at < 8u; at += 1u) {
            sum = soft_add(sum, shared_terms[8u * local + at]);
        }
        shared_terms[64u + local] = sum;
    }
    workgroupBarrier();
    if local == 0u {
        let inertia = soft_subtract(soft_multiply(weight, shared_terms[65]), soft_scale(shared_terms[64], 1));
        parts[cluster] = select(vec4<u32>({{ no_rows }}u), vec4<u32>(shared_terms[66], inertia), has_rows);
    }
}
