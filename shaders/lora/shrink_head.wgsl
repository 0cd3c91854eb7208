{#- Parameters and bindings that both shrink kernels have. -#}
struct ShrinkParams {
    // Features of x, and elements from row to row and before the first.
    inputs: u32,
    x_stride: u32,
    x_first: u32,
    // Blocks of all features, and of one plane.
    blocks: u32,
    blocks_per_plane: u32,
    // Groups of rank vectors that lie along x beside the planes, where vectors are not tiles.
    rank_groups: u32,
    // The chunks in the tables, how many, and how many lie along y.
    first_chunk: u32,
    chunks: u32,
    chunks_across: u32,
    // Positions of the batch, where their rows begin in the tables, and values from position to position.
    positions: u32,
    rows_at: u32,
    stride: u32,
    // The group of modules among all groups, its slab, and the pages' logarithm.
    group: u32,
    groups: u32,
    slab: u32,
    page_shift: u32,
    // In the tables: the adapter of each position, the positions in the order of the rows, the adapters in use, and
    // how many these are.
    slots_at: u32,
    by_row_at: u32,
    used_at: u32,
    used: u32,
}

@group(0) @binding(0) var<storage, read> x: array<{{ x_word }}>;
@group(0) @binding(1) var<storage, read> weights: array<{{ weight_word }}>;
@group(0) @binding(2) var<storage, read> pages: array<u32>;
@group(0) @binding(3) var<storage, read> descriptors: array<u32>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> shrunk: array<f32>;
{%- if counted %}
@group(0) @binding(6) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(7) var<uniform> params: ShrinkParams;
{%- else %}
@group(0) @binding(6) var<uniform> params: ShrinkParams;
{%- endif %}

{% include "lora/operands.wgsl" %}
{% include "lora/inputs.wgsl" %}
