// Computes  with v[j] = half_norm[j] - w[i] * weight[j] - unscale * sum over d of x[i, d] * y[j, d] and
//           w[i] = residual[i] + ratio * norm[i], for each row i
//           {% if fold == "collect" %}the columns j with v[j] at most the row's limit, added to its list in any order{% else %}the least v[j] over the columns j of one split, its column, and the second-least v{% endif %}.
//           x is [rows, depth], y is [columns, depth], both f16 and padded.
// Mapping   A workgroup owns 64 rows and all column tiles of its split (workgroup id y). The matrices of a tile are
//           dealt out to the subgroups in blocks of {{ block_rows }} by {{ block_columns }}; where there are fewer subgroups than the
//           {{ blocks }} blocks, a tile takes several turns. In the fold an invocation owns one row and half of the columns.
// Bounds    x, y and columns are padded to whole tiles, and the depth to whole steps, with zeros and with half norms
//           that never win; rows beyond the end {% if fold == "collect" %}have a limit below any value. Columns beyond the room of a list are only counted{% else %}are not stored{% endif %}.
// Numerics  Products of f16 are exact; matrix units add them to f32 in any order, rounded any way
//           (crate::tile::bound::f16). {% if fold == "collect" %}What an upper value rounds is covered where limits are lowered (tighten.wgsl).{% else %}Ties keep the lowest column within an invocation; a tie between two makes
//           the second equal to the best, which certifies nothing.{% endif %}
{% include "tile/product/units/bindings.wgsl" %}
var<workgroup> shared_x: array<f16, {{ 64 * x_stride }}>;
var<workgroup> shared_y: array<f16, {{ 64 * y_stride }}>;
/// The tile, by columns: neighbouring invocations of the fold then read neighbouring words.
var<workgroup> shared_tile: array<f32, {{ 64 * tile_stride }}>;
var<workgroup> shared_columns: array<vec2<f32>, 64>;
{%- if fold == "nearest" %}
var<workgroup> shared_best: array<u32, {{ invocations }}>;
{%- endif %}
{%- if not plain %}
// Of 16 bytes, as the size of every variable is a multiple of: matrix units want their operands at such addresses.
var<workgroup> shared_turns: vec4<u32>;
{%- endif %}

/// The row of x that stands at position i of this dispatch.
fn x_row(i: u32) -> u32 {
    return params.first_row + i;
}

fn stage_x(row: u32, part: u32, from_row: u32, from_part: u32) {
    let values = x[from_row * (params.depth / 4u) + from_part];
    let to = row * {{ x_stride }}u + part * 4u;
    shared_x[to] = values.x;
    shared_x[to + 1u] = values.y;
    shared_x[to + 2u] = values.z;
    shared_x[to + 3u] = values.w;
}

fn stage_y(column: u32, part: u32, from_column: u32, from_part: u32) {
    let values = y[from_column * (params.depth / 4u) + from_part];
    let to = column * {{ y_stride }}u + part * 4u;
    shared_y[to] = values.x;
    shared_y[to + 1u] = values.y;
    shared_y[to + 2u] = values.z;
    shared_y[to + 3u] = values.w;
}

@compute @workgroup_size({{ invocations }})
fn multiply_shared(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) workgroup: vec3<u32>,
    {%- if not plain %}
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    {%- endif %}
) {
    {%- if plain %}
    let subgroup = local / {{ subgroup }}u;
    let lane = local % {{ subgroup }}u;
    let subgroups = {{ invocations // subgroup }}u;
    let turns = {{ (blocks + invocations // subgroup - 1) // (invocations // subgroup) }}u;
    {%- else %}
    if local == 0u {
        shared_turns = vec4<u32>(({{ blocks }}u + subgroups - 1u) / subgroups);
    }
    let turns = workgroupUniformLoad(&shared_turns).x;
    {%- endif %}
    let row_tile = workgroup.x * 64u;
    let own_row = local % 64u;
    let own_half = local / 64u;
    let first = workgroup.y * params.split_columns;
    let last = min(first + params.split_columns, params.columns);
    {%- if fold == "collect" %}
    // Below any value: rows beyond the end keep nothing. Limits fall between dispatches alone.
    var limit = -3e38;
    {%- else %}
    var best = 2e38;
    var second = 2e38;
    var column = 0u;
    {%- endif %}
    var weight = 0.0;
    if row_tile + own_row < params.rows {
        let row = x_row(row_tile + own_row);
        weight = residuals[row] + params.ratio * norms[row];
        {%- if fold == "collect" %}
        limit = limits[row];
        {%- endif %}
    }
    {%- if resident %}
    // All of the rows' features stay for all column tiles.
    for (var slot = local; slot < 16u * params.depth; slot += {{ invocations }}u) {
        let row = slot / (params.depth / 4u);
        let part = slot % (params.depth / 4u);
        stage_x(row, part, x_row(row_tile + row), part);
    }
    {%- endif %}
    for (var column_tile = first; column_tile < last; column_tile += 64u) {
        for (var turn = 0u; turn < turns; turn += 1u) {
            // Never more than the blocks, unless the device forms smaller subgroups than it said.
            let block = min(turn * subgroups + subgroup, {{ blocks - 1 }}u);
            let block_row = block / {{ blocks_across }}u * {{ block_rows * size }}u;
            let block_column = block % {{ blocks_across }}u * {{ block_columns * size }}u;
            {%- for m in range(block_rows) %}{% for n in range(block_columns) %}
            {%- if plain %}
            var sum_{{ m }}_{{ n }} = array<f32, {{ size * size // subgroup }}>();
            {%- else %}
            var sum_{{ m }}_{{ n }} = coop_mat{{ size }}x{{ size }}<f32, C>();
            {%- endif %}
            {%- endfor %}{% endfor %}
            for (var start = 0u; start < params.depth; start += {{ depth_step }}u) {
                // Nobody reads the panels of the step before any more, nor the tile before.
                workgroupBarrier();
                if start == 0u && local < 64u {
                    shared_columns[local] = columns[column_tile + local];
                }
                {%- for i in range(64 * depth_step // 4 // invocations) %}
                {
                    let slot = local + {{ i * invocations }}u;
                    let row = slot / {{ depth_step // 4 }}u;
                    let part = slot % {{ depth_step // 4 }}u;
                    {%- if not resident %}
                    stage_x(row, part, x_row(row_tile + row), start / 4u + part);
                    {%- endif %}
                    stage_y(row, part, column_tile + row, start / 4u + part);
                }
                {%- endfor %}
                workgroupBarrier();
                {%- for k in range(depth_step // size) %}
                {
                    let x_at = block_row * {{ x_stride }}u + {{ k * size }}u{% if resident %} + start{% endif %};
                    let y_at = block_column * {{ y_stride }}u + {{ k * size }}u;
                    {%- if plain %}
                    for (var e = 0u; e < {{ size * size // subgroup }}u; e += 1u) {
                        let place = e * {{ subgroup }}u + lane;
                        let x_from = x_at + place / {{ size }}u * {{ x_stride }}u;
                        let y_from = y_at + place % {{ size }}u * {{ y_stride }}u;
                        for (var d = 0u; d < {{ size }}u; d += 1u) {
                            {%- for m in range(block_rows) %}{% for n in range(block_columns) %}
                            {%- set sum = "sum_" ~ m ~ "_" ~ n ~ "[e]" %}
                            {
                                let product = f32(shared_x[x_from + {{ m * size * x_stride }}u + d])
                                    * f32(shared_y[y_from + {{ n * size * y_stride }}u + d]);
                                {%- if fault == "narrow sums" %}
                                {{ sum }} = bitcast<f32>((bitcast<u32>({{ sum }} + product) + 0x1000u) & 0xffffe000u);
                                {%- elif fault == "lost products" and m == 0 and n == 0 %}
                                {{ sum }} += select(product, 0.0, block == 1u && place == 9u && start + d == 3u);
                                {%- else %}
                                {{ sum }} += product;
                                {%- endif %}
                            }
                            {%- endfor %}{% endfor %}
                        }
                    }
                    {%- else %}
                    {%- for m in range(block_rows) %}
                    let x_{{ m }} = coopLoadT<coop_mat{{ size }}x{{ size }}<f16, A>>(&shared_x[x_at + {{ m * size * x_stride }}u], {{ x_stride }}u);
                    {%- endfor %}
                    {%- for n in range(block_columns) %}
                    {
                        let y_{{ n }} = coopLoad<coop_mat{{ size }}x{{ size }}<f16, B>>(&shared_y[y_at + {{ n * size * y_stride }}u], {{ y_stride }}u);
                        {%- for m in range(block_rows) %}
                        sum_{{ m }}_{{ n }} = coopMultiplyAdd(x_{{ m }}, y_{{ n }}, sum_{{ m }}_{{ n }});
                        {%- endfor %}
                    }
                    {%- endfor %}
                    {%- endif %}
                }
                {%- endfor %}
            }
            {%- for m in range(block_rows) %}{% for n in range(block_columns) %}
            {%- set at = "(block_column + " ~ (n * size) ~ "u) * " ~ tile_stride ~ "u + block_row + " ~ (m * size) ~ "u" %}
            {%- if plain %}
            for (var e = 0u; e < {{ size * size // subgroup }}u; e += 1u) {
                let place = e * {{ subgroup }}u + lane;
                shared_tile[{{ at }} + place % {{ size }}u * {{ tile_stride }}u + place / {{ size }}u] = sum_{{ m }}_{{ n }}[e]
                    {%- if fault == "doubled sums" and m == 0 and n == 0 %} * select(1.0, 2.0, block == 2u && place == 9u){% endif %};
            }
            {%- else %}
            coopStore(sum_{{ m }}_{{ n }}, &shared_tile[{{ at }}], {{ tile_stride }}u);
            {%- endif %}
            {%- endfor %}{% endfor %}
        }
        workgroupBarrier();
        for (var c = own_half * 32u; c < own_half * 32u + 32u; c += 1u) {
            let terms = shared_columns[c];
            {%- if fold == "collect" %}
            let share = weight * terms.y;
            let value = terms.x - share - params.unscale * shared_tile[c * {{ tile_stride }}u + own_row];
            if value <= limit {
                keep(row_tile + own_row, column_tile + c, value, share);
            }
            {%- else %}
            let value = terms.x - weight * terms.y - params.unscale * shared_tile[c * {{ tile_stride }}u + own_row];
            column = select(column, column_tile + c, value < best);
            second = min(second, max(best, value));
            best = min(best, value);
            {%- endif %}
        }
    }
    {%- if fold == "nearest" %}
    // Merges the halves of each row.
    workgroupBarrier();
    shared_tile[local] = best;
    shared_tile[{{ invocations }}u + local] = second;
    shared_best[local] = column;
    workgroupBarrier();
    if own_half == 0u && row_tile + own_row < params.rows {
        var merged = Partial(best, second, column);
        let other = shared_tile[local + 64u];
        merged.second = min(min(second, shared_tile[{{ invocations }}u + local + 64u]), max(best, other));
        merged.column = select(column, shared_best[local + 64u], other < best);
        merged.best = min(best, other);
        merged.column += params.first_column;
        partials[(params.first_split + workgroup.y) * params.stride + row_tile + own_row] = merged;
    }
    {%- endif %}
}
