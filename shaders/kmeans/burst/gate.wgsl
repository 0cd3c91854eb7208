// Computes  whether the device can decide the rows that the last tier left. Where they are more than there is room for, the burst
//           ends in the middle of its pass, and the host goes on from there: its record tells of the window instead of the shift.
// Mapping   One workgroup; an invocation empties every 64th size.
// Bounds    A burst that has ended is left as it is.
// Numerics  Integers.

{{ GateParams }}

{{ Standing }}

{{ Record }}

@group(0) @binding(0) var<storage, read> counters: array<u32, 4>;
@group(0) @binding(1) var<storage, read_write> standing: Standing;
@group(0) @binding(2) var<storage, read_write> history: array<Record>;
@group(0) @binding(3) var<storage, read_write> sizes: array<vec4<u32>>;
@group(0) @binding(4) var<uniform> params: GateParams;

var<workgroup> shared_status: u32;

@compute @workgroup_size(64)
fn gate(@builtin(local_invocation_index) local: u32) {
    if local == 0u {
        let is_open = counters[0] <= params.listed && counters[params.counter] <= params.room;
        shared_status = select({{ many }}u, standing.status, is_open || standing.status != {{ runs }}u);
    }
    let status = workgroupUniformLoad(&shared_status);
    if status != {{ many }}u {
        return;
    }
    for (var step = local; step < {{ most_dispatches }}u; step += 64u) {
        sizes[step] = vec4<u32>();
    }
    if local == 0u && standing.status == {{ runs }}u {
        standing.status = status;
        history[standing.turn % {{ ring }}u] =
            Record({{ statuses }}u * standing.turn + status, standing.changed + counters[1], counters[0], counters[params.counter],
                   vec2<u32>(params.window, 0u), vec2<u32>());
    }
}
