{#- What the tiles on matrix units are called with: a table of rows and one of columns in f16, both padded, with half norm
    and weight of each column, length and residual of each row; then what the fold wants.
    Expects  fold, plain. -#}
{% if not plain %}
enable wgpu_cooperative_matrix;
{%- endif %}
enable f16;

@group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read> y: array<vec4<f16>>;
/// Half norm and weight of each column.
@group(0) @binding(2) var<storage, read> columns: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> norms: array<f32>;
@group(0) @binding(4) var<storage, read> residuals: array<f32>;
{% if fold == "collect" %}
{%- include "tile/product/units/collect.wgsl" %}
{%- else -%}
{{ NearestParams }}

{{ Partial }}

@group(0) @binding(5) var<storage, read_write> partials: array<Partial>;
@group(0) @binding(6) var<uniform> params: NearestParams;
{%- endif %}
