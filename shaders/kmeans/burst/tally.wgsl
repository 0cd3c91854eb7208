// Computes  what all windows of a pass came to so far: adds the counters of one, and sets those to 0.
// Mapping   One invocation.
// Bounds    None.
// Numerics  Integers.

{{ TallyParams }}

{{ Standing }}

@group(0) @binding(0) var<storage, read_write> counters: array<u32, 4>;
@group(0) @binding(1) var<storage, read_write> standing: Standing;
@group(0) @binding(2) var<uniform> params: TallyParams;

@compute @workgroup_size(1)
fn tally() {
    standing.changed += counters[1] + counters[3];
    standing.listed += counters[0];
    standing.left += counters[params.counter];
    counters = array<u32, 4>();
}
