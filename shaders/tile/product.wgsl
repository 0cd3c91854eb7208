{#- The product of one tile, accumulated in registers: textually included, so that the accumulators keep their names.
    Expects: `row_tile`, `column_tile` (first row and column), `params.rows`, `params.columns`, `params.depth`,
    `x_row(i)` (position of row i of the tile's rows in x), buffers x and y, and gives `sum_<row>_<vector>`:
    vec4 of products of one row with 4 columns. -#}
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    var sum_{{ r }}_{{ v }} = vec4<f32>();
    {%- endfor %}{% endfor %}
    for (var start = 0u; start < params.depth; start += {{ depth_step }}u) {
        // Each invocation brings whole vectors of four rows at one depth: the panels are stored by depth, so that the
        // products below read vectors.
        {%- for i in range(x_loads) %}
        {
            let slot = local + {{ i * invocations }}u;
            let depth = start + slot % {{ depth_step }}u;
            let group = slot / {{ depth_step }}u;
            shared_x[(slot % {{ depth_step }}u) * {{ x_stride }}u + group] = load_x(row_tile + group * 4u, depth);
        }
        {%- endfor %}
        {%- for i in range(y_loads) %}
        {
            let slot = local + {{ i * invocations }}u;
            let depth = start + slot % {{ depth_step }}u;
            let group = slot / {{ depth_step }}u;
            shared_y[(slot % {{ depth_step }}u) * {{ y_stride }}u + group] = load_y(column_tile + group * 4u, depth);
        }
        {%- endfor %}
        workgroupBarrier();
        {%- for d in range(depth_step) %}
        {
            {%- for g in range(invocation_rows // 4) %}
            let x_{{ g }} = shared_x[{{ d * x_stride }}u + own_row * {{ invocation_rows // 4 }}u + {{ g }}u];
            {%- endfor %}
            {%- for v in range(invocation_columns // 4) %}
            let y_{{ v }} = shared_y[{{ d * y_stride }}u + own_column * {{ invocation_columns // 4 }}u + {{ v }}u];
            {%- endfor %}
            {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
            sum_{{ r }}_{{ v }} += x_{{ r // 4 }}.{{ "xyzw"[r % 4] }} * y_{{ v }};
            {%- endfor %}{% endfor %}
        }
        {%- endfor %}
        workgroupBarrier();
    }
