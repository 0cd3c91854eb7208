// Computes  sums[k, d] += sum over rows i with label k of {% if weighted %}weight[i] * {% endif %}x[i, d], as 64-bit multiples of
//           2^exponents[d], each term rounded once to nearest, ties to even.{% if weighted %} Column `depth` sums the weights.{% endif %}
// Mapping   A workgroup owns {{ lanes * rows_per_lane }} places in the order by label and {{ features }} features; an invocation owns
//           one feature and {{ rows_per_lane }} places, and adds to the result when the label changes.
// Bounds    Places and features beyond the end do nothing. Sums of all rows stay below 2^62.
// Numerics  Integers: exact, in any order. Values are read as bits, so no device flushes or rounds them.
// Mirror    crate::kmeans::gpu_sums::SumParams

struct SumParams {
    rows: u32,
    depth: u32,
    features: u32,
    first_place: u32,
}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> exponents: array<i32>;
@group(0) @binding(4) var<storage, read_write> sums: array<atomic<u32>>;
{%- if weighted %}
@group(0) @binding(5) var<storage, read> weights: array<u32>;
@group(0) @binding(6) var<uniform> params: SumParams;
{%- else %}
@group(0) @binding(5) var<uniform> params: SumParams;
{%- endif %}

{% include "common/wide.wgsl" %}

fn term(row: u32, feature: u32, grid: i32) -> vec2<u32> {
    {%- if weighted %}
    var bits = 0x3f800000u;
    if feature < params.depth {
        bits = x[row * params.depth + feature];
    }
    let weight = weights[row];
    let product = wide_product(mantissa(bits), mantissa(weight));
    let scaled = wide_scale(product, exponent(bits) + exponent(weight) - grid);
    {%- else %}
    let bits = x[row * params.depth + feature];
    let scaled = wide_scale(vec2<u32>(mantissa(bits), 0u), exponent(bits) - grid);
    {%- endif %}
    if (bits >> 31u) != 0u {
        return wide_negate(scaled);
    }
    return scaled;
}

/// Adds a 64-bit number with two 32-bit additions: whoever makes the low word wrap carries into the high word.
fn add(label: u32, feature: u32, sum: vec2<u32>) {
    let at = 2u * (label * params.features + feature);
    let before = atomicAdd(&sums[at], sum.x);
    let carry = select(0u, 1u, before + sum.x < before);
    atomicAdd(&sums[at + 1u], sum.y + carry);
}

@compute @workgroup_size(64)
fn sum(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let feature = workgroup.y * {{ features }}u + local % {{ features }}u;
    let first = params.first_place + (workgroup.x * {{ lanes }}u + local / {{ features }}u) * {{ rows_per_lane }}u;
    let last = min(first + {{ rows_per_lane }}u, params.rows);
    if feature >= params.features || first >= last {
        return;
    }
    let grid = exponents[feature];
    var label = labels[order[first]];
    var total = vec2<u32>();
    for (var place = first; place < last; place += 1u) {
        let row = order[place];
        let next = labels[row];
        if next != label {
            add(label, feature, total);
            label = next;
            total = vec2<u32>();
        }
        total = wide_add(total, term(row, feature, grid));
    }
    add(label, feature, total);
}
