// Computes  nearest[row] for each row of a list: the candidate j with the least sum over d of (x[row, d] - c[j, d])^2, ties to the
//           lowest index, where every operation is that of f64. Rows without candidates, and with more than there is room
//           for, are decided among all columns. Rows whose nearest column is another than before are counted.
// Mapping   A workgroup takes listed rows in turns, as far apart as all workgroups take together; its invocations make the squares of
//           {{ features }} features and {{ candidates }} candidates, then one invocation a candidate adds them in the order of the features.
// Bounds    The list may have fewer rows than were expected; candidates and features beyond the end do nothing. A candidate
//           that does not exist sends its row to all columns.
// Numerics  common/soft.wgsl: the operations of f64 in the reference's order.

{{ DecideParams }}

{{ Listed }}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> exact: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> list: array<Listed>;
/// For each row its number of candidates, then the candidates.
@group(0) @binding(3) var<storage, read> found: array<u32>;
@group(0) @binding(4) var<storage, read_write> counters: array<atomic<u32>, 4>;
@group(0) @binding(5) var<storage, read_write> nearest: array<u32>;
@group(0) @binding(6) var<uniform> params: DecideParams;

{% include "common/soft.wgsl" %}

var<workgroup> shared_rows: u32;
/// Candidates of the row, or the number of columns where it meets all.
var<workgroup> shared_count: u32;
var<workgroup> shared_squares: array<vec2<u32>, {{ features * candidates }}>;
var<workgroup> shared_distances: array<vec2<u32>, {{ candidates }}>;

/// The candidate at a place; all columns are candidates where there are more than a list holds.
fn candidate_at(entry: u32, count: u32, place: u32) -> u32 {
    return select(found[entry * {{ room + 1 }}u + 1u + place], place, count > {{ room }}u);
}

@compute @workgroup_size(64)
fn decide(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>,
          @builtin(num_workgroups) workgroups: vec3<u32>) {
    if local == 0u {
        shared_rows = min(atomicLoad(&counters[params.counter]), params.most);
    }
    let rows = workgroupUniformLoad(&shared_rows);
    for (var entry = workgroup.x; entry < rows; entry += workgroups.x) {
        if local == 0u {
            var count = found[entry * {{ room + 1 }}u];
            if count > {{ room }}u {
                count = 0u;
            }
            for (var place = 0u; place < count; place += 1u) {
                if found[entry * {{ room + 1 }}u + 1u + place] >= params.columns {
                    count = 0u;
                }
            }
            // A number above the room says that all columns are met, however few there are.
            shared_count = select(count, max(params.columns, {{ room + 1 }}u), count == 0u);
        }
        let count = workgroupUniformLoad(&shared_count);
        let met = select(count, params.columns, count > {{ room }}u);
        let of_row = list[entry].row * params.depth;
        var best = 0xffffffffu;
        var least = vec2<u32>(0xffffffffu, 0x7fffffffu);
        for (var first = 0u; first < met; first += {{ candidates }}u) {
            let here = min({{ candidates }}u, met - first);
            var distance = vec2<u32>();
            for (var block = 0u; block < params.depth; block += {{ features }}u) {
                let wide = min({{ features }}u, params.depth - block);
                for (var at = local; at < here * {{ features }}u; at += 64u) {
                    let feature = at % {{ features }}u;
                    if feature < wide {
                        let column = candidate_at(entry, count, first + at / {{ features }}u);
                        let value = soft_from_f32(x[of_row + block + feature]);
                        let difference = soft_subtract(value, exact[column * params.depth + block + feature]);
                        shared_squares[at] = soft_multiply(difference, difference);
                    }
                }
                workgroupBarrier();
                if local < here {
                    for (var feature = 0u; feature < wide; feature += 1u) {
                        distance = soft_add_positive(distance, shared_squares[local * {{ features }}u + feature]);
                    }
                }
                workgroupBarrier();
            }
            if local < here {
                shared_distances[local] = distance;
            }
            workgroupBarrier();
            if local == 0u {
                for (var place = 0u; place < here; place += 1u) {
                    let column = candidate_at(entry, count, first + place);
                    let other = shared_distances[place];
                    let is_less = other.y < least.y || (other.y == least.y && other.x < least.x);
                    if is_less || (all(other == least) && column < best) {
                        best = column;
                        least = other;
                    }
                }
            }
            workgroupBarrier();
        }
        if local == 0u {
            nearest[list[entry].row] = best;
            if best != list[entry].before {
                atomicAdd(&counters[params.counter + 1u], 1u);
            }
        }
    }
}
