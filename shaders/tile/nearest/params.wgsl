{#- What a nearest tile is called with, whatever its product: in f32 nothing is scaled back and no row has a residual. -#}
struct NearestParams {
    rows: u32,
    columns: u32,
    depth: u32,
    first_row: u32,
    first_column: u32,
    split_columns: u32,
    first_split: u32,
    stride: u32,
    unscale: f32,
    ratio: f32,
}
