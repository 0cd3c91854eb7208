// Computes  what shared.wgsl does, for rows of at most {{ depth }} features: with v[j] = half_norm[j] - w[i] *
//           weight[j] - unscale * sum over d of x[i, d] * y[j, d] and w[i] = residual[i] + ratio * norm[i], for each row i
//           {% if fold == "collect" %}the columns j with v[j] at most the row's limit, added to its list{% else %}the least v[j] over the columns j of one split, its column, and the second-least v{% endif %}.
// Mapping   A workgroup owns {{ tile_rows }} rows and all column tiles of its split (workgroup id y), a subgroup {{ tile_rows // subgroups }} of the rows. Their
//           features stay in its registers; the columns pass by in workgroup memory, {{ tile_columns }} at a time. Each element of
//           a matrix of sums {% if fold == "collect" %}has its row's limit in a register{% else %}keeps its own best and second-best in registers, over all columns that come to lie there{% endif %}.
// Elements  `sum_<m>_<n>_elements[e]` is element e of the matrix `sum_<m>_<n>` that this invocation holds: the writer of
//           SPIR-V (src/device/gpu/spirv_elements.rs) makes both one. Its row and column are read off a matrix of places.
// Bounds    x, y and columns are padded to whole tiles, and the depth to whole matrices, with zeros and with half norms
//           that never win; rows beyond the end {% if fold == "collect" %}have a limit below any value. Columns beyond the room of a list are only counted{% else %}are not stored{% endif %}.
// Numerics  As shared.wgsl.{% if fold == "nearest" %} Ties keep the lowest column of an element; a tie between two elements makes the
//           second equal to the best, which certifies nothing.{% endif %}
{% include "tile/product/units/bindings.wgsl" %}
{% include "tile/product/units/memory.wgsl" %}
@compute @workgroup_size({{ invocations }})
fn multiply_held(
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
    let row_tile = workgroup.x * {{ tile_rows }}u;
    let own_tile = row_tile + subgroup * {{ blocks * size }}u;
    let own_down = subgroup;
    let own_across = 0u;
    {%- include "tile/product/units/places.wgsl" %}
    {%- if not plain %}
    {%- for m in range(blocks) %}{% for k in range(depth // size) %}
    let x_{{ m }}_{{ k }} = coopLoadT<coop_mat{{ size }}x{{ size }}<f16, A>>(&x[(params.first_row + own_tile + {{ m * size }}u) * {{ depth // 4 }}u + {{ k * size // 4 }}u], {{ depth // 4 }}u);
    {%- endfor %}{% endfor %}
    {%- endif %}
    let first = workgroup.y * params.split_columns;
    let last = min(first + params.split_columns, params.columns);
    for (var column_tile = first; column_tile < last; column_tile += {{ tile_columns }}u) {
        // Nobody reads the columns before any more.
        workgroupBarrier();
        for (var i = local; i < {{ tile_columns }}u; i += {{ invocations }}u) {
            shared_columns[i] = columns[column_tile + i];
        }
        for (var slot = local; slot < {{ tile_columns * depth // 4 }}u; slot += {{ invocations }}u) {
            shared_y[slot / {{ depth // 4 }}u * {{ y_stride }}u + slot % {{ depth // 4 }}u] = y[column_tile * {{ depth // 4 }}u + slot];
        }
        workgroupBarrier();
        for (var lies = 0u; lies < {{ tile_columns }}u; lies += {{ size }}u) {
            {%- set n = 0 %}
            {%- if plain %}
            {%- for m in range(blocks) %}
            sum_{{ m }}_0_elements = array<f32, {{ elements }}>();
            {%- endfor %}
            for (var part = 0u; part < {{ depth // 4 }}u; part += 1u) {
                let is_first = part == 0u;
                {%- for e in range(elements) %}{% for m in range(blocks) %}
                {
                    let x_row = params.first_row + own_tile + {{ m * size }}u + row_{{ e }};
                    let products = vec4<f32>(shared_y[(lies + column_{{ e }}) * {{ y_stride }}u + part]) * vec4<f32>(x[x_row * {{ depth // 4 }}u + part]);
                    {%- include "tile/product/units/add.wgsl" %}
                }
                {%- endfor %}{% endfor %}
            }
            {%- include "tile/product/units/double.wgsl" %}
            {%- else %}
            {%- for m in range(blocks) %}
            sum_{{ m }}_0 = coop_mat{{ size }}x{{ size }}<f32, C>();
            {%- endfor %}
            {%- for k in range(depth // size) %}
            {
                let y_part = coopLoad<coop_mat{{ size }}x{{ size }}<f16, B>>(&shared_y[lies * {{ y_stride }}u + {{ k * size // 4 }}u], {{ y_stride }}u);
                {%- for m in range(blocks) %}
                sum_{{ m }}_0 = coopMultiplyAdd(x_{{ m }}_{{ k }}, y_part, sum_{{ m }}_0);
                {%- endfor %}
            }
            {%- endfor %}
            {%- endif %}
            {%- include "tile/product/units/keep.wgsl" %}
        }
    }
    {%- if fold == "nearest" %}
    {%- include "tile/product/units/merge.wgsl" %}
    {%- endif %}
}
