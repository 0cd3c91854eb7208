{#- Parameters and bindings that both expand kernels have. -#}
{{ ExpandParams }}

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
