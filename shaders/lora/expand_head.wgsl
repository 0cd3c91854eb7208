{#- Parameters and bindings that both expand kernels have. -#}
struct ExpandParams {
    // Rounds of sums in what shrink made, positions of the batch, and values from position to position.
    planes: u32,
    positions: u32,
    stride: u32,
    // The chunks in the tables, how many, and how many lie along y.
    first_chunk: u32,
    chunks: u32,
    chunks_across: u32,
    // In the tables: row, scale and adapter of each position, and the positions in the order of the rows.
    rows_at: u32,
    scales_at: u32,
    slots_at: u32,
    by_row_at: u32,
    // The group of modules among all groups, its slab, and the pages' logarithm.
    group: u32,
    groups: u32,
    slab: u32,
    page_shift: u32,
    // Projections of the group.
    projections: u32,
    padding: u32,
    // For each projection: the tile of columns that follows its last, its first element in y, elements from row to
    // row, columns.
    targets: array<vec4<u32>, {{ most_projections }}>,
}

@group(0) @binding(0) var<storage, read> shrunk: array<f32>;
@group(0) @binding(1) var<storage, read> weights: array<{{ weight_word }}>;
@group(0) @binding(2) var<storage, read> pages: array<u32>;
@group(0) @binding(3) var<storage, read> descriptors: array<u32>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<{{ y_word }}>;
{%- if counted %}
@group(0) @binding(6) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(7) var<uniform> params: ExpandParams;
{%- else %}
@group(0) @binding(6) var<uniform> params: ExpandParams;
{%- endif %}

{% include "lora/operands.wgsl" %}
{% include "lora/outputs.wgsl" %}

/// The projection that a tile of columns belongs to.
fn projection_of(tile: u32) -> u32 {
    var projection = 0u;
    while projection + 1u < params.projections && tile >= params.targets[projection].x {
        projection += 1u;
    }
    return projection;
}

/// The first tile of a projection.
fn first_tile(projection: u32) -> u32 {
    if projection == 0u {
        return 0u;
    }
    return params.targets[projection - 1u].x;
}
