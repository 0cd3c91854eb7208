{#- One tile of pairs, combined in registers: included as text, so that the accumulators keep their names.
    Expects  `local`, `own_row`, `own_column` (the invocation's index, and its place among those of the tile),
             `depth_begin`, `depth_end` (the features to combine), `shared_x`, `shared_y`, and a template `stage` that
             fills them with the features `start` .. `start + depth_step`.
    Gives    `sum_<row>_<vector>`: a vec4 for one row with 4 columns. With combine "dot" it is sum_d x_d * y_d, with
             "manhattan" sum_d |x_d - y_d|, with "chebyshev" max_d |x_d - y_d|.
    With     fold_every > 0: chunks have so many features, a step of the panels holds several, and chunk_steps is 1.
    Order    chunk_steps = 0: one chain of additions over the whole depth, in order. Otherwise one chain for each
             chunk of chunk_steps * depth_step features, and the chunks are added in order. Depths beyond the end
             combine to 0, which changes no bit, so the order depends on the depth and the chunk alone. -#}
    {%- set part = "chunk" if chunk_steps else "sum" %}
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    var sum_{{ r }}_{{ v }} = vec4<f32>();
    {%- endfor %}{% endfor %}
    {%- if chunk_steps %}
    for (var chunk = depth_begin; chunk < depth_end; chunk += {{ chunk_steps * depth_step }}u) {
    let chunk_end = min(chunk + {{ chunk_steps * depth_step }}u, depth_end);
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    var chunk_{{ r }}_{{ v }} = vec4<f32>();
    {%- endfor %}{% endfor %}
    for (var start = chunk; start < chunk_end; start += {{ depth_step }}u) {
    {%- else %}
    for (var start = depth_begin; start < depth_end; start += {{ depth_step }}u) {
    {%- endif %}
        {% include stage %}
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
        {%- if fold_every and (d + 1) % fold_every == 0 and d + 1 < depth_step %}
        {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
        sum_{{ r }}_{{ v }} += chunk_{{ r }}_{{ v }};
        chunk_{{ r }}_{{ v }} = vec4<f32>();
        {%- endfor %}{% endfor %}
        {%- endif %}
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
