{#- What the fold of lists is called with, beside the operands of bindings.wgsl, and what it keeps. -#}
{{ MatrixCollectParams }}

/// Constant of each column, which its value is too small by already.
@group(0) @binding(5) var<storage, read> constants: array<f32>;
@group(0) @binding(6) var<storage, read> limits: array<f32>;
/// For each row the length of its list, then its entries: value, upper value, column.
@group(0) @binding(7) var<storage, read_write> lists: array<atomic<u32>>;
@group(0) @binding(8) var<uniform> params: MatrixCollectParams;

/// Adds a column to the list of a row of this dispatch; `share` is what the row has in its error.
fn keep(row: u32, column: u32, value: f32, share: f32) {
    let start = (params.first_row + row) * (3u * params.room + 1u);
    let slot = atomicAdd(&lists[start], 1u);
    if slot < params.room {
        let upper = value + 2.0 * (share + constants[column]);
        atomicStore(&lists[start + 1u + 3u * slot], bitcast<u32>(value));
        atomicStore(&lists[start + 2u + 3u * slot], bitcast<u32>(upper));
        atomicStore(&lists[start + 3u + 3u * slot], params.first_column + column);
    }
}
