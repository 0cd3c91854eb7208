// Computes  starts[k] = sum of counts[j] over j < k.
// Mapping   One workgroup owns everything: 256 clusters at a time, a running sum in between.
// Bounds    Clusters beyond the end count 0 and are not stored.
// Numerics  Integers.

{{ RowsParams }}

@group(0) @binding(0) var<storage, read> counts: array<u32>;
@group(0) @binding(1) var<storage, read_write> starts: array<u32>;
@group(0) @binding(2) var<uniform> params: RowsParams;

var<workgroup> shared_sums: array<u32, 256>;

@compute @workgroup_size(256)
fn scan(@builtin(local_invocation_index) local: u32) {
    var before = 0u;
    for (var first = 0u; first < params.n_clusters; first += 256u) {
        let k = first + local;
        var own = 0u;
        if k < params.n_clusters {
            own = counts[k];
        }
        shared_sums[local] = own;
        workgroupBarrier();
        // Hillis and Steele: after the step with distance s each place holds the sum of the 2s places up to it.
        for (var distance = 1u; distance < 256u; distance *= 2u) {
            var sum = shared_sums[local];
            if local >= distance {
                sum += shared_sums[local - distance];
            }
            workgroupBarrier();
            shared_sums[local] = sum;
            workgroupBarrier();
        }
        if k < params.n_clusters {
            starts[k] = before + shared_sums[local] - own;
        }
        before += shared_sums[255];
        workgroupBarrier();
    }
}
