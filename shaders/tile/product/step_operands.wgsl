{#- What rows are multiplied with in one step of columns, step.wgsl.
    Expects  `params` with rows, columns, depth and first_row. -#}
@group(0) @binding(0) var<storage, read> x: array<{{ operand }}>;
@group(0) @binding(1) var<storage, read> y: array<{{ operand }}>;
/// Half norm and error of each column.
@group(0) @binding(2) var<storage, read> norms: array<vec2<f32>>;

fn x_row(row: u32) -> u32 {
    return params.first_row + row;
}

{% include "tile/product/load.wgsl" %}
