// Computes  for each row i whose label is not the one that it is summed under: adds {% if weighted %}weight[i] * {% endif %}x[i] to the sums of its
//           cluster k = labels[i] and takes it from those of summed[i] - 1, where that exists, as 64-bit multiples of
//           2^exponents[d], each term rounded once.{% if weighted %} Column `depth` is the weight.{% endif %} totals counts rows likewise. Afterwards the
//           row counts as summed under its label.
// Mapping   A workgroup owns rows_per_workgroup rows and looks at 256 of them at a time: it lists those that move, then
//           {{ 256 // features }} listed rows by {{ features }} features are added at once.{% if private_sums > 0 %} It adds in workgroup memory, and that to the
//           result at the end: for at most {{ private_sums }} sums of {{ private_clusters }} clusters.{% endif %}
// Bounds    Rows beyond the end do nothing, and so do rows whose label does not exist. Sums of all rows stay below
//           2^62; sums in between wrap.
// Numerics  As term.wgsl: exact integers.

{{ TransferParams }}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read_write> summed: array<u32>;
@group(0) @binding(3) var<storage, read> exponents: array<i32>;
@group(0) @binding(4) var<storage, read_write> sums: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read_write> totals: array<atomic<u32>>;
{%- if weighted %}
@group(0) @binding(6) var<storage, read> weights: array<u32>;
@group(0) @binding(7) var<uniform> params: TransferParams;
{%- else %}
@group(0) @binding(6) var<uniform> params: TransferParams;
{%- endif %}

/// Rows that move, with what they move between.
var<workgroup> shared_rows: array<u32, 256>;
var<workgroup> shared_labels: array<u32, 256>;
var<workgroup> shared_olds: array<u32, 256>;
var<workgroup> shared_listed: atomic<u32>;
{%- if private_sums > 0 %}
var<workgroup> shared_sums: array<atomic<u32>, {{ 2 * private_sums }}>;
var<workgroup> shared_totals: array<atomic<u32>, {{ private_clusters }}>;
{%- endif %}

{% include "kmeans/term.wgsl" %}
{% if private_sums > 0 %}
{%- from "common/wide_atomic.wgsl" import adder %}
{{ adder("add_own", "shared_sums") }}
{% endif %}
{%- set add = "add_own" if private_sums > 0 else "add" %}
{%- set totals = "shared_totals" if private_sums > 0 else "totals" %}
@compute @workgroup_size(256)
fn transfer(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    {%- if private_sums > 0 %}
    for (var at = local; at < 2u * params.n_clusters * params.features; at += 256u) {
        atomicStore(&shared_sums[at], 0u);
    }
    for (var k = local; k < params.n_clusters; k += 256u) {
        atomicStore(&shared_totals[k], 0u);
    }
    {%- endif %}
    let begin = workgroup.x * params.rows_per_workgroup;
    let end = min(begin + params.rows_per_workgroup, params.rows);
    for (var block = begin; block < end; block += 256u) {
        if local == 0u {
            atomicStore(&shared_listed, 0u);
        }
        workgroupBarrier();
        let row = block + local;
        if row < end {
            let label = labels[row];
            let old = summed[row];
            if label + 1u != old && label < params.n_clusters {
                let place = atomicAdd(&shared_listed, 1u);
                shared_rows[place] = row;
                shared_labels[place] = label;
                shared_olds[place] = old;
                summed[row] = label + 1u;
                atomicAdd(&{{ totals }}[label], 1u);
                if old > 0u {
                    atomicSub(&{{ totals }}[old - 1u], 1u);
                }
            }
        }
        workgroupBarrier();
        let listed = atomicLoad(&shared_listed);
        for (var place = local / {{ features }}u; place < listed; place += {{ 256 // features }}u) {
            let label = shared_labels[place];
            let old = shared_olds[place];
            for (var feature = local % {{ features }}u; feature < params.features; feature += {{ features }}u) {
                let own = term(shared_rows[place], feature, exponents[feature]);
                {{ add }}(label * params.features + feature, own);
                if old > 0u {
                    {{ add }}((old - 1u) * params.features + feature, wide_negate(own));
                }
            }
        }
        workgroupBarrier();
    }
    {%- if private_sums > 0 %}
    for (var at = local; at < params.n_clusters * params.features; at += 256u) {
        add(at, vec2<u32>(atomicLoad(&shared_sums[2u * at]), atomicLoad(&shared_sums[2u * at + 1u])));
    }
    for (var k = local; k < params.n_clusters; k += 256u) {
        atomicAdd(&totals[k], atomicLoad(&shared_totals[k]));
    }
    {%- endif %}
}
