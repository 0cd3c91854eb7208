// Computes  for each row: the columns whose value is at most the count-th least value plus twice the row's error
//           bound, in any order: up to `room`, and their number.
// Mapping   A workgroup owns one row. The count-th least value is found by its bits, eight at a time from the top: a
//           histogram of the next eight bits among the values that share the bits found so far.
// Bounds    Found columns beyond the room are only counted. count is at most the number of columns.
// Numerics  Bits of an f32 with the sign folded in order as unsigned integers. -0 and 0 differ there by one step,
//           which the bound covers.
// Mirror    crate::tile::kernels::ShortlistParams

struct ShortlistParams {
    columns: u32,
    stride: u32,
    count: u32,
    room: u32,
    first_row: u32,
    slope: f32,
    constant: f32,
}

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> norms: array<f32>;
/// For each row its number of columns found, then the columns.
@group(0) @binding(2) var<storage, read_write> found: array<u32>;
@group(0) @binding(3) var<uniform> params: ShortlistParams;

var<workgroup> shared_bins: array<atomic<u32>, 256>;
var<workgroup> shared_prefix: u32;
var<workgroup> shared_left: u32;
var<workgroup> shared_found: atomic<u32>;

fn ordered(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    return bits ^ select(0x80000000u, 0xffffffffu, (bits >> 31u) != 0u);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(key ^ select(0xffffffffu, 0x80000000u, (key >> 31u) != 0u));
}

@compute @workgroup_size(64)
fn shortlist(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let row = workgroup.x;
    let start = row * params.stride;
    if local == 0u {
        shared_prefix = 0u;
        shared_left = params.count;
        atomicStore(&shared_found, 0u);
    }
    {%- for shift in [24, 16, 8, 0] %}
    for (var bin = local; bin < 256u; bin += 64u) {
        atomicStore(&shared_bins[bin], 0u);
    }
    workgroupBarrier();
    {
        let prefix = shared_prefix;
        for (var column = local; column < params.columns; column += 64u) {
            let key = ordered(values[start + column]);
            {%- if shift == 24 %}
            atomicAdd(&shared_bins[key >> 24u], 1u);
            {%- else %}
            if (key >> {{ shift + 8 }}u) == (prefix >> {{ shift + 8 }}u) {
                atomicAdd(&shared_bins[(key >> {{ shift }}u) & 0xffu], 1u);
            }
            {%- endif %}
        }
    }
    workgroupBarrier();
    if local == 0u {
        var left = shared_left;
        var bin = 0u;
        for (; bin < 255u; bin += 1u) {
            let here = atomicLoad(&shared_bins[bin]);
            if here >= left {
                break;
            }
            left -= here;
        }
        shared_left = left;
        shared_prefix |= bin << {{ shift }}u;
    }
    workgroupBarrier();
    {%- endfor %}
    let gap = 2.0 * (params.slope * norms[params.first_row + row] + params.constant);
    let limit = value_of(shared_prefix) + gap;
    let out = row * (params.room + 1u);
    for (var column = local; column < params.columns; column += 64u) {
        if values[start + column] <= limit {
            let slot = atomicAdd(&shared_found, 1u);
            if slot < params.room {
                found[out + 1u + slot] = column;
            }
        }
    }
    workgroupBarrier();
    if local == 0u {
        found[out] = atomicLoad(&shared_found);
    }
}
