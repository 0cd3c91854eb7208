{#- What a collecting tile is called with, whatever its product: in f32 a workgroup owns one tile of columns, nothing is scaled
    back and no row has a residual. -#}
struct CollectParams {
    rows: u32,
    columns: u32,
    depth: u32,
    // First row of this dispatch.
    first_row: u32,
    // Number of the first column.
    first_column: u32,
    split_columns: u32,
    // Entries that a list has room for.
    room: u32,
    unscale: f32,
    ratio: f32,
}
