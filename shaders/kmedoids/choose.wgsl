{%- if eager %}
// Computes  the first of the candidates that were looked at whose swap improves the loss, and where to go on: after it, or
//           after all of them.
{%- else %}
// Computes  the candidate whose swap improves the loss most, ties to the lowest.
{%- endif %}
//           It becomes the medoid of its place.
// Mapping   One workgroup; its invocations take outcomes in turns.
// Bounds    Only outcomes that `gain` wrote in this step are read.
// Numerics  Exact integers.

{{ ChooseParams }}

{{ Control }}

@group(0) @binding(0) var<storage, read> outcomes: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> control: Control;
@group(0) @binding(2) var<storage, read_write> medoids: array<u32>;
@group(0) @binding(3) var<storage, read_write> is_medoid: array<u32>;
@group(0) @binding(4) var<uniform> params: ChooseParams;

{%- if eager %}
var<workgroup> shared_first: atomic<u32>;
{%- else %}
{% include "kmedoids/numbers.wgsl" %}
{% include "kmedoids/least.wgsl" %}
{%- endif %}

@compute @workgroup_size(256)
fn choose(@builtin(local_invocation_index) local: u32) {
    {%- if eager %}
    if local == 0u {
        atomicStore(&shared_first, 0xffffffffu);
    }
    workgroupBarrier();
    var count = 0u;
    if control.since < params.candidates && control.next < params.end {
        count = min(control.together, params.end - control.next);
    }
    for (var number = local; number < count; number += 256u) {
        if outcomes[number].w != 0u {
            atomicMin(&shared_first, number);
        }
    }
    workgroupBarrier();
    let first = atomicLoad(&shared_first);
    let is_found = first < count;
    let candidate = control.next + first;
    {%- else %}
    var best = vec2<u32>();
    var best_candidate = 0xffffffffu;
    for (var number = local; number < params.candidates; number += 256u) {
        let outcome = outcomes[number];
        if outcome.w != 0u && is_less(outcome.xy, best) {
            best = outcome.xy;
            best_candidate = number;
        }
    }
    find_least(local, best, best_candidate);
    let candidate = shared_owners[0];
    let first = candidate;
    let is_found = candidate < params.candidates;
    {%- endif %}
    if local != 0u {
        return;
    }
    control.found = select(0u, 1u, is_found);
    {%- if eager %}
    if !is_found {
        control.since += count;
        control.next += count;
        if count > 0u {
            control.together = min(2u * control.together, params.most_together);
        }
    }
    {%- endif %}
    if is_found {
        let place = outcomes[first].z;
        is_medoid[medoids[place]] = 0u;
        is_medoid[candidate] = 1u;
        medoids[place] = candidate;
        control.candidate = candidate;
        control.place = place;
        control.swaps += 1u;
        {%- if eager %}
        control.since = 1u;
        control.next = candidate + 1u;
        control.together = max(first + 1u, control.together / 2u);
        {%- endif %}
    }
}
