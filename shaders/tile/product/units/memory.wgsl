{#- Workgroup memory of a tile whose fold stays in registers.
    Expects  tile_columns, y_stride, size, subgroups, fold, plain. -#}
// Matrix units want their operands at multiples of 16 bytes: the size of every variable is one.
var<workgroup> shared_y: array<vec4<f16>, {{ tile_columns * y_stride }}>;
var<workgroup> shared_columns: array<vec2<f32>, {{ tile_columns }}>;
{%- if not plain %}
var<workgroup> shared_places: array<vec4<f32>, {{ size * size // 4 }}>;
{%- endif %}
{%- if fold == "nearest" %}
var<workgroup> shared_best: array<f32, {{ subgroups * size * size }}>;
var<workgroup> shared_second: array<f32, {{ subgroups * size * size }}>;
var<workgroup> shared_column: array<u32, {{ subgroups * size * size }}>;
{%- endif %}
