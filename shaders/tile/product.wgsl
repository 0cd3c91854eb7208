{#- One tile of pairs, combined in registers: included as text, so that the accumulators keep their names.
    Expects  `local`, `own_row`, `own_column` (the invocation's index, and its place among those of the tile),
             `row_tile`, `column_tile` (first row and column of the tile), and load.wgsl with what that expects.
    Gives    `sum_<row>_<vector>`: a vec4 for one row with 4 columns. With combine "dot" it is sum_d x_d * y_d, with
             "manhattan" sum_d |x_d - y_d|, with "chebyshev" max_d |x_d - y_d|.
    Order    chunk_steps = 0: one chain of additions over the whole depth, in order. Otherwise one chain for each
             chunk of chunk_steps * depth_step features, and the chunks are added in order. Depths beyond the end
             combine to 0, which changes no bit, so the order depends on the depth and the chunk alone. -#}
    {%- set part = "chunk" if chunk_steps else "sum" %}
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    var sum_{{ r }}_{{ v }} = vec4<f32>();
    {%- endfor %}{% endfor %}
    {%- if chunk_steps %}
    for (var chunk = 0u; chunk < params.depth; chunk += {{ chunk_steps * depth_step }}u) {
    let chunk_end = min(chunk + {{ chunk_steps * depth_step }}u, params.depth);
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    var chunk_{{ r }}_{{ v }} = vec4<f32>();
    {%- endfor %}{% endfor %}
    for (var start = chunk; start < chunk_end; start += {{ depth_step }}u) {
    {%- else %}
    for (var start = 0u; start < params.depth; start += {{ depth_step }}u) {
    {%- endif %}
        // Each invocation brings whole vectors of four rows at one depth: the panels are stored by depth, so that the
        // steps below read vectors.
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
            {%- set sum = part ~ "_" ~ r ~ "_" ~ v %}
            {%- set one = "vec4<f32>(x_" ~ (r // 4) ~ "." ~ "xyzw"[r % 4] ~ ")" %}
            {%- if combine == "dot" %}
            {{ sum }} = fma({{ one }}, y_{{ v }}, {{ sum }});
            {%- elif combine == "manhattan" %}
            {{ sum }} += abs({{ one }} - y_{{ v }});
            {%- else %}
            {{ sum }} = max({{ sum }}, abs({{ one }} - y_{{ v }}));
            {%- endif %}
            {%- endfor %}{% endfor %}
        }
        {%- endfor %}
        workgroupBarrier();
    }
    {%- if chunk_steps %}
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    {%- if combine == "chebyshev" %}
    sum_{{ r }}_{{ v }} = max(sum_{{ r }}_{{ v }}, chunk_{{ r }}_{{ v }});
    {%- else %}
    sum_{{ r }}_{{ v }} += chunk_{{ r }}_{{ v }};
    {%- endif %}
    {%- endfor %}{% endfor %}
    }
    {%- endif %}
