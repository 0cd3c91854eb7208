// Computes  for a candidate c: the medoid i for which a swap changes the loss the least (ties to the lowest i), and that
//           change = removal[i] + sum over objects o with d = d(o, c) below the second of o's nearest two distances n, s:
//                      min(d - n, 0), and for those whose nearest medoid is i also  max(d, n) - s
// Mapping   One workgroup owns one candidate; its invocations take objects in turns. Corrections are added in workgroup
//           memory, for {{ places }} medoids at a time; the column is read again for the next of them.{% if eager %} Candidates are
//           control.next and the control.together - 1 after it.{% endif %}
// Bounds    The window's columns begin with params.held. Candidates from params.end on, medoids{% if eager %}, those that are not looked at now{% endif %}: no swap.
// Numerics  As numbers.wgsl: exact integers, in any order.

{{ GainParams }}

{{ Control }}

@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> limits: array<u32>;
@group(0) @binding(2) var<storage, read> near: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> removal: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> is_medoid: array<u32>;
@group(0) @binding(5) var<storage, read> control: Control;
@group(0) @binding(6) var<storage, read_write> outcomes: array<vec4<u32>>;
@group(0) @binding(7) var<uniform> params: GainParams;

var<workgroup> shared_changes: array<atomic<u32>, {{ 2 * places }}>;
var<workgroup> shared_all: array<atomic<u32>, 2>;

{% include "kmedoids/numbers.wgsl" %}
{% include "kmedoids/least.wgsl" %}
{%- from "common/wide_atomic.wgsl" import adder %}

{{ adder("add_change", "shared_changes") }}

{{ adder("add_all", "shared_all") }}

@compute @workgroup_size(256)
fn gain(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let number = workgroup.x + workgroup.y * params.across;
    {%- if eager %}
    let candidate = control.next + number;
    let is_looked_at = number < control.together && control.since < params.objects;
    {%- else %}
    let candidate = params.first + number;
    let is_looked_at = true;
    {%- endif %}
    var is_candidate = is_looked_at && candidate >= params.held && candidate < params.end;
    if is_candidate {
        is_candidate = is_medoid[candidate] == 0u;
    }
    let column = (candidate - params.held) * params.objects;
    var best = vec2<u32>(0xffffffffu, 0x7fffffffu);
    var best_place = 0u;
    var change_of_all = vec2<u32>();
    if local < 2u {
        atomicStore(&shared_all[local], 0u);
    }
    for (var start = 0u; start < params.places; start += {{ places }}u) {
        let here = min({{ places }}u, params.places - start);
        workgroupBarrier();
        for (var at = local; at < here; at += 256u) {
            let change = removal[start + at];
            atomicStore(&shared_changes[2u * at], change.x);
            atomicStore(&shared_changes[2u * at + 1u], change.y);
        }
        workgroupBarrier();
        let objects = select(0u, params.objects, is_candidate);
        for (var object = local; object < objects; object += 256u) {
            let d = canonical(values[column + object]);
            if key(d) < key(limits[object]) {
                let own = near[object];
                let wide = on_grid(d, params.unit);
                let is_nearer = key(d) < key(own.x);
                if start == 0u && is_nearer {
                    change_of_all = wide_add(change_of_all, minus(wide, on_grid(own.x, params.unit)));
                }
                if own.z >= start && own.z - start < here {
                    let kept = on_grid(select(d, own.x, is_nearer), params.unit);
                    add_change(own.z - start, minus(kept, on_grid(own.y, params.unit)));
                }
            }
        }
        workgroupBarrier();
        for (var at = local; at < here; at += 256u) {
            let change = vec2<u32>(atomicLoad(&shared_changes[2u * at]), atomicLoad(&shared_changes[2u * at + 1u]));
            if is_less(change, best) {
                best = change;
                best_place = start + at;
            }
        }
    }
    add_all(0u, change_of_all);
    find_least(local, best, best_place);
    if local == 0u {
        let shared_by_all = vec2<u32>(atomicLoad(&shared_all[0]), atomicLoad(&shared_all[1]));
        let change = wide_add(shared_least[0], shared_by_all);
        let improves = is_candidate && (change.y >> 31u) != 0u;
        {%- if eager %}
        outcomes[number] = vec4<u32>(change, shared_owners[0], select(0u, 1u, improves));
        {%- else %}
        if candidate < params.end {
            outcomes[candidate] = vec4<u32>(change, shared_owners[0], select(0u, 1u, improves));
        }
        {%- endif %}
    }
}
