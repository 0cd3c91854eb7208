{#- What the fold of lists is called with, beside the operands of bindings.wgsl, and what it keeps. -#}
{{ CollectParams }}

/// Constant of each column, which its value is too small by already.
@group(0) @binding(5) var<storage, read> constants: array<f32>;
@group(0) @binding(6) var<storage, read> limits: array<f32>;
/// For each row the length of its list, then its entries: value, upper value, column.
@group(0) @binding(7) var<storage, read_write> lists: array<atomic<u32>>;
@group(0) @binding(8) var<uniform> params: CollectParams;

{% include "tile/collect/entries.wgsl" %}

/// Adds a column to the list of a row of this dispatch; `share` is what the row has in its error.
fn keep(row: u32, column: u32, value: f32, share: f32) {
    let upper = value + 2.0 * (share + constants[column]);
    add_entry(params.first_row + row, params.first_column + column, value, upper);
}
