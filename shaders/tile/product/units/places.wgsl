{#- Which elements of a matrix of sums an invocation holds, and what it keeps of each.
    Expects  `local`, `row_tile` and `own_tile` (first row of the workgroup's and of the subgroup's tile), with plain
             also `lane`.
    Gives    `place_<e>`, `row_<e>`, `column_<e>` of element e; for each of the subgroup's {{ blocks }} matrices of rows m
             `weight_<m>_<e>` and what the fold keeps, `best_<m>_<e>`, `second_<m>_<e>` and `tile_<m>_<e>` (where the best
             was found), or `limit_<m>_<e>`; and the matrices of sums `sum_<m>_<n>` with their elements. -#}
    {%- if not plain %}
    for (var i = local; i < {{ size * size // 4 }}u; i += {{ invocations }}u) {
        shared_places[i] = 4.0 * f32(i) + vec4<f32>(0.0, 1.0, 2.0, 3.0);
    }
    workgroupBarrier();
    var place = coopLoadT<coop_mat{{ size }}x{{ size }}<f32, C>>(&shared_places[0], {{ size // 4 }}u);
    var place_elements: array<f32, {{ elements }}>;
    {%- endif %}
    {%- for e in range(elements) %}
    let place_{{ e }} = {% if plain %}{{ e * subgroup }}u + lane{% else %}u32(place_elements[{{ e }}]){% endif %};
    let row_{{ e }} = place_{{ e }} / {{ size }}u;
    let column_{{ e }} = place_{{ e }} % {{ size }}u;
    {%- endfor %}
    {%- for m in range(blocks) %}
    {%- for n in range(column_blocks) %}
    {%- if not plain %}
    var sum_{{ m }}_{{ n }} = coop_mat{{ size }}x{{ size }}<f32, C>();
    {%- endif %}
    var sum_{{ m }}_{{ n }}_elements: array<f32, {{ elements }}>;
    {%- endfor %}
    {%- for e in range(elements) %}
    {%- if fold == "collect" %}
    // Below any value: rows beyond the end keep nothing. Limits fall between dispatches alone.
    var limit_{{ m }}_{{ e }} = -3e38;
    {%- else %}
    var best_{{ m }}_{{ e }} = 2e38;
    var second_{{ m }}_{{ e }} = 2e38;
    var tile_{{ m }}_{{ e }} = 0u;
    {%- endif %}
    var weight_{{ m }}_{{ e }} = 0.0;
    if own_tile + {{ m * size }}u + row_{{ e }} < params.rows {
        let row = params.first_row + own_tile + {{ m * size }}u + row_{{ e }};
        weight_{{ m }}_{{ e }} = residuals[row] + params.ratio * norms[row];
        {%- if fold == "collect" %}
        limit_{{ m }}_{{ e }} = limits[row];
        {%- endif %}
    }
    {%- endfor %}
    {%- endfor %}
