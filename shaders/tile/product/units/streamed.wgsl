// Computes  what shared.wgsl does, for rows of any length: with v[j] = half_norm[j] - w[i] *
//           weight[j] - unscale * sum over d of x[i, d] * y[j, d] and w[i] = residual[i] + ratio * norm[i], for each row i
//           {% if fold == "collect" %}the columns j with v[j] at most the row's limit, added to its list{% else %}the least v[j] over the columns j of one split, its column, and the second-least v{% endif %}.
// Mapping   A workgroup owns {{ tile_rows }} rows and all column tiles of its split (workgroup id y); its {{ subgroups }} subgroups share a tile of
//           {{ tile_columns }} columns, {{ blocks }} by {{ column_blocks }} matrices each. Both operands pass by in workgroup memory, {{ depth_step }} features at a time,
//           and the next are read meanwhile. Each element of the sums {% if fold == "collect" %}has its row's limit in a register{% else %}keeps its own best and second-best in registers{% endif %}.
// Elements  `sum_<m>_<n>_elements[e]` is element e of the matrix `sum_<m>_<n>` that this invocation holds: the writer of
//           SPIR-V (src/device/gpu/spirv_elements.rs) makes both one. Its row and column are read off a matrix of places.
// Bounds    x, y and columns are padded to whole tiles, and the depth to whole matrices, with zeros and with half norms
//           that never win; rows beyond the end {% if fold == "collect" %}have a limit below any value. Columns beyond the room of a list are only counted{% else %}are not stored{% endif %}.
// Numerics  As shared.wgsl.{% if fold == "nearest" %} Ties keep the lowest column of an element; a tie between two elements makes the
//           second equal to the best, which certifies nothing.{% endif %}
{% include "tile/product/units/bindings.wgsl" %}
{% include "tile/product/units/memory.wgsl" %}
var<workgroup> shared_x: array<vec4<f16>, {{ tile_rows * y_stride }}>;

@compute @workgroup_size({{ invocations }})
fn multiply_streamed(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    {%- if not plain %}
    @builtin(subgroup_id) subgroup: u32,
    {%- endif %}
) {
    {%- if plain %}
    let subgroup = local / {{ subgroup }}u;
    let lane = local % {{ subgroup }}u;
    {%- endif %}
    let own_down = subgroup / {{ across }}u;
    let own_across = subgroup % {{ across }}u;
    let row_tile = workgroup.x * {{ tile_rows }}u;
    let own_tile = row_tile + own_down * {{ blocks * size }}u;
    {%- include "tile/product/units/places.wgsl" %}
    {%- set parts = depth_step // 4 %}
    {%- set x_reads = tile_rows * parts // invocations %}
    {%- set y_reads = tile_columns * parts // invocations %}
    let first = workgroup.y * params.split_columns;
    let last = min(first + params.split_columns, params.columns);
    // Where this invocation's first operands lie, and how far it is to the next.
    let own_part = local % {{ parts }}u;
    let own_line = local / {{ parts }}u;
    let line = params.depth / 4u;
    let x_from = (params.first_row + row_tile + own_line) * line + own_part;
    for (var column_tile = first; column_tile < last; column_tile += {{ tile_columns }}u) {
        let y_from = (column_tile + own_line) * line + own_part;
        {%- for m in range(blocks) %}{% for n in range(column_blocks) %}
        {%- if plain %}
        sum_{{ m }}_{{ n }}_elements = array<f32, {{ elements }}>();
        {%- else %}
        sum_{{ m }}_{{ n }} = coop_mat{{ size }}x{{ size }}<f32, C>();
        {%- endif %}
        {%- endfor %}{% endfor %}
        {%- for i in range(x_reads) %}
        var next_x_{{ i }} = x[x_from + {{ i * invocations // parts }}u * line];
        {%- endfor %}
        {%- for i in range(y_reads) %}
        var next_y_{{ i }} = y[y_from + {{ i * invocations // parts }}u * line];
        {%- endfor %}
        for (var start = 0u; start < line; start += {{ parts }}u) {
            // Nobody reads the step before any more, nor the columns before.
            workgroupBarrier();
            if start == 0u {
                for (var i = local; i < {{ tile_columns }}u; i += {{ invocations }}u) {
                    shared_columns[i] = columns[column_tile + i];
                }
            }
            {%- for i in range(x_reads) %}
            shared_x[(own_line + {{ i * invocations // parts }}u) * {{ y_stride }}u + own_part] = next_x_{{ i }};
            {%- endfor %}
            {%- for i in range(y_reads) %}
            shared_y[(own_line + {{ i * invocations // parts }}u) * {{ y_stride }}u + own_part] = next_y_{{ i }};
            {%- endfor %}
            workgroupBarrier();
            if start + {{ parts }}u < line {
                {%- for i in range(x_reads) %}
                next_x_{{ i }} = x[x_from + {{ i * invocations // parts }}u * line + start + {{ parts }}u];
                {%- endfor %}
                {%- for i in range(y_reads) %}
                next_y_{{ i }} = y[y_from + {{ i * invocations // parts }}u * line + start + {{ parts }}u];
                {%- endfor %}
            }
            {%- if plain %}
            for (var part = 0u; part < {{ parts }}u; part += 1u) {
                let is_first = start + part == 0u;
                {%- for e in range(elements) %}{% for n in range(column_blocks) %}
                {
                    let y_part = vec4<f32>(shared_y[(own_across * {{ column_blocks * size }}u + {{ n * size }}u + column_{{ e }}) * {{ y_stride }}u + part]);
                    {%- for m in range(blocks) %}
                    {
                        let products = y_part * vec4<f32>(shared_x[(own_down * {{ blocks * size }}u + {{ m * size }}u + row_{{ e }}) * {{ y_stride }}u + part]);
                        {%- include "tile/product/units/add.wgsl" %}
                    }
                    {%- endfor %}
                }
                {%- endfor %}{% endfor %}
            }
            {%- else %}
            {%- for k in range(depth_step // size) %}
            {
                {%- for m in range(blocks) %}
                let x_{{ m }} = coopLoadT<coop_mat{{ size }}x{{ size }}<f16, A>>(&shared_x[(own_down * {{ blocks * size }}u + {{ m * size }}u) * {{ y_stride }}u + {{ k * size // 4 }}u], {{ y_stride }}u);
                {%- endfor %}
                {%- for n in range(column_blocks) %}
                {
                    let y_part = coopLoad<coop_mat{{ size }}x{{ size }}<f16, B>>(&shared_y[(own_across * {{ column_blocks * size }}u + {{ n * size }}u) * {{ y_stride }}u + {{ k * size // 4 }}u], {{ y_stride }}u);
                    {%- for m in range(blocks) %}
                    sum_{{ m }}_{{ n }} = coopMultiplyAdd(x_{{ m }}, y_part, sum_{{ m }}_{{ n }});
                    {%- endfor %}
                }
                {%- endfor %}
            }
            {%- endfor %}
            {%- endif %}
        }
        {%- if plain %}
        {%- include "tile/product/units/double.wgsl" %}
        {%- endif %}
        {%- for n in range(column_blocks) %}
        {
            let lies = own_across * {{ column_blocks * size }}u + {{ n * size }}u;
            {%- include "tile/product/units/keep.wgsl" %}
        }
        {%- endfor %}
    }
    {%- if fold == "nearest" %}
    {%- include "tile/product/units/merge.wgsl" %}
    {%- endif %}
}
