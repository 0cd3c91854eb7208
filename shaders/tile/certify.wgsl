// Computes  the label of each row from the partial results of its splits, and whether the error bound certifies it:
//           second - best > 2 (min(square * norm^2, slope * norm + constant) + error of the best column). Uncertified
//           rows are listed with the limit inside which their nearest column must lie. Certified rows whose label differs from the old one are counted.
// Mapping   One invocation owns one row.
// Bounds    Rows beyond the end do nothing. The list has room for every row.
// Numerics  f32; the slack for these operations is part of slope and constant. Splits are merged in order. The
//           order of the list is not fixed; nothing depends on it.
// Mirror    crate::tile::kernels::CertifyParams, crate::tile::kernels::Partial, crate::tile::kernels::Listed

struct CertifyParams {
    rows: u32,
    splits: u32,
    stride: u32,
    first_row: u32,
    slope: f32,
    constant: f32,
    square: f32,
}

struct Partial {
    best: f32,
    second: f32,
    column: u32,
}

struct Listed {
    row: u32,
    label: u32,
    before: u32,
    limit: f32,
}

@group(0) @binding(0) var<storage, read> partials: array<Partial>;
@group(0) @binding(1) var<storage, read> norms: array<f32>;
@group(0) @binding(2) var<storage, read> given: array<u32>;
@group(0) @binding(3) var<storage, read> errors: array<f32>;
@group(0) @binding(4) var<storage, read_write> labels: array<u32>;
@group(0) @binding(5) var<storage, read_write> list: array<Listed>;
/// Rows listed, certified rows that changed.
@group(0) @binding(6) var<storage, read_write> counters: array<atomic<u32>, 2>;
@group(0) @binding(7) var<uniform> params: CertifyParams;

var<workgroup> shared_changed: atomic<u32>;

@compute @workgroup_size(256)
fn certify(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let index = workgroup.x * 256u + local;
    if local == 0u {
        atomicStore(&shared_changed, 0u);
    }
    workgroupBarrier();
    if index < params.rows {
        var merged = partials[index];
        for (var split = 1u; split < params.splits; split += 1u) {
            let other = partials[split * params.stride + index];
            merged.second = min(min(merged.second, other.second), max(merged.best, other.best));
            merged.column = select(merged.column, other.column, other.best < merged.best);
            merged.best = min(merged.best, other.best);
        }
        let row = params.first_row + index;
        let norm = norms[row];
        let shared_error = min(params.square * norm * norm, params.slope * norm + params.constant);
        let gap = 2.0 * (shared_error + errors[merged.column]);
        let before = labels[row];
        let label = given[merged.column];
        labels[row] = label;
        if merged.second - merged.best > gap {
            if label != before {
                atomicAdd(&shared_changed, 1u);
            }
        } else {
            let slot = atomicAdd(&counters[0], 1u);
            list[slot] = Listed(row, label, before, merged.best + gap);
        }
    }
    workgroupBarrier();
    if local == 0u {
        let changed = atomicLoad(&shared_changed);
        if changed > 0u {
            atomicAdd(&counters[1], changed);
        }
    }
}
