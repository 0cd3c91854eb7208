{#- Parameters and bindings that both shrink kernels have. -#}
{{ ShrinkParams }}

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
