// Computes  after a swap: each object's nearest two medoids, and removal[i] = sum over the objects nearest to i of s - n,
//           their distances to the second and to the nearest.
// Mapping   One invocation owns one object. Most only compare one distance; an object that loses a medoid it knew looks at
//           all of them.
// Bounds    Objects beyond the end do nothing, and nothing is done where no swap was found.
// Numerics  As numbers.wgsl: exact integers, in any order.

{{ ExchangeParams }}

{{ Control }}

@group(0) @binding(0) var<storage, read> column: array<u32>;
@group(0) @binding(1) var<storage, read> control: Control;
@group(0) @binding(2) var<storage, read_write> chosen: array<u32>;
@group(0) @binding(3) var<storage, read_write> near: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> limits: array<u32>;
@group(0) @binding(5) var<storage, read_write> removal: array<atomic<u32>>;
@group(0) @binding(6) var<uniform> params: ExchangeParams;

{% include "kmedoids/numbers.wgsl" %}
{%- from "common/wide_atomic.wgsl" import adder %}

{{ adder("add_removal", "removal") }}

/// s - n.
fn gap(own: vec4<u32>) -> vec2<u32> {
    return minus(on_grid(own.y, params.unit), on_grid(own.x, params.unit));
}

@compute @workgroup_size(256)
fn exchange(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let object = invocation.x;
    if object >= params.objects || control.found == 0u {
        return;
    }
    let place = control.place;
    let d = column[object];
    chosen[place * params.objects + object] = d;
    let old = near[object];
    var own = old;
    if old.z == place || old.w == place {
        own = vec4<u32>(INFINITE, INFINITE, 0xffffffffu, 0xffffffffu);
        for (var at = 0u; at < params.places; at += 1u) {
            let other = chosen[at * params.objects + object];
            if key(other) < key(own.x) {
                own = vec4<u32>(other, own.x, at, own.z);
            } else if key(other) < key(own.y) {
                own = vec4<u32>(own.x, other, own.z, at);
            }
        }
    } else if key(d) < key(old.x) {
        own = vec4<u32>(d, old.x, place, old.z);
    } else if key(d) < key(old.y) {
        own = vec4<u32>(old.x, d, old.z, place);
    } else {
        return;
    }
    near[object] = own;
    limits[object] = own.y;
    add_removal(old.z, wide_negate(gap(old)));
    add_removal(own.z, gap(own));
}
