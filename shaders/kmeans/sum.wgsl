// Computes  sums[k, d] += sum over rows i that enter cluster k of {% if weighted %}weight[i] * {% endif %}x[i, d], less those that leave it, as
//           64-bit multiples of 2^exponents[d], each term rounded once.{% if weighted %} Column `depth` sums the weights.{% endif %} totals[k] += rows
//           that enter, less rows that leave.
// Mapping   A workgroup takes {{ lanes * rows_per_lane }} moves at a time, as far apart as all workgroups take together, and owns
//           {{ features }} features; an invocation owns one feature and {{ rows_per_lane }} moves, and adds to the result when the
//           cluster changes.
// Bounds    Moves and features beyond the end do nothing. Sums of all rows stay below 2^62.
// Numerics  As term.wgsl: exact integers.

{{ SumParams }}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> order: array<u32>;
/// Where the moves of each cluster end.
@group(0) @binding(2) var<storage, read> ends: array<u32>;
@group(0) @binding(3) var<storage, read> exponents: array<i32>;
@group(0) @binding(4) var<storage, read_write> sums: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read_write> totals: array<atomic<u32>>;
{%- if weighted %}
@group(0) @binding(6) var<storage, read> weights: array<u32>;
@group(0) @binding(7) var<uniform> params: SumParams;
{%- else %}
@group(0) @binding(6) var<uniform> params: SumParams;
{%- endif %}

{% include "kmeans/term.wgsl" %}

/// The cluster that a move belongs to: the first that ends behind it.
fn cluster_of(place: u32) -> u32 {
    var low = 0u;
    var high = params.n_clusters - 1u;
    while low < high {
        let middle = (low + high) / 2u;
        if ends[middle] > place {
            high = middle;
        } else {
            low = middle + 1u;
        }
    }
    return low;
}

@compute @workgroup_size(64)
fn sum(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>,
       @builtin(num_workgroups) workgroups: vec3<u32>) {
    let feature = workgroup.y * {{ features }}u + local % {{ features }}u;
    if feature >= params.features {
        return;
    }
    let moves = ends[params.n_clusters - 1u];
    let grid = exponents[feature];
    let own = (workgroup.x * {{ lanes }}u + local / {{ features }}u) * {{ rows_per_lane }}u;
    for (var first = own; first < moves; first += workgroups.x * {{ lanes * rows_per_lane }}u) {
        let last = min(first + {{ rows_per_lane }}u, moves);
        var cluster = cluster_of(first);
        var end = ends[cluster];
        var total = vec2<u32>();
        var rows = 0u;
        for (var place = first; place < last; place += 1u) {
            if place >= end {
                add(cluster * params.features + feature, total);
                if feature == 0u {
                    atomicAdd(&totals[cluster], rows);
                }
                total = vec2<u32>();
                rows = 0u;
                while place >= end {
                    cluster += 1u;
                    end = ends[cluster];
                }
            }
            let entry = order[place];
            let own_term = term(entry & 0x7fffffffu, feature, grid);
            if (entry >> 31u) != 0u {
                total = wide_add(total, wide_negate(own_term));
                rows -= 1u;
            } else {
                total = wide_add(total, own_term);
                rows += 1u;
            }
        }
        add(cluster * params.features + feature, total);
        if feature == 0u {
            atomicAdd(&totals[cluster], rows);
        }
    }
}
