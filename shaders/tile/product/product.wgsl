{#- One tile of pairs, combined in registers: included as text, so that the accumulators keep their names.
    Expects  `local`, `own_row`, `own_column` (the invocation's index, and its place among those of the tile),
             `depth_begin`, `depth_end` (the features to combine), `shared_x`, `shared_y`, and a template `stage` that
             fills them with the features `start` .. `start + depth_step`. With x_once, shared_x is filled already.
    Gives    `sum_<row>_<vector>`: a vec4 for one row with 4 columns. With combine "dot" it is sum_d x_d * y_d, with
             "manhattan" sum_d |x_d - y_d|, with "chebyshev" max_d |x_d - y_d|.
    With     fold_every > 0: chunks have so many features, a step of the panels holds several, and chunk_steps is 1.
             is_whole: all features are one step. prefetch: a step is read (fetch.wgsl) while the one before it is
             combined, and put into the panels (put.wgsl) when that is done.
    Order    chunk_steps = 0: one chain of additions over the whole depth, in order. Otherwise one chain for each
             chunk of chunk_steps * depth_step features, and the chunks are added in order. Depths beyond the end
             combine to 0, which changes no bit, so the order depends on the depth and the chunk alone. With is_whole
             the chain is added to 0, as the only chunk would be. -#}
    {%- set part = "chunk" if chunk_steps or is_whole else "sum" %}
    {%- set pieces = y_reads if x_once else reads %}
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    var sum_{{ r }}_{{ v }} = vec4<f32>();
    {%- endfor %}{% endfor %}
    {%- if prefetch %}
    {%- for read in pieces %}{% for k in range(slot_width) %}
    var next_{{ read.index }}_{{ k }}: vec4<f32>;
    {%- endfor %}{% endfor %}
    {
        let start = depth_begin;
        {%- include "tile/product/fetch.wgsl" %}
    }
    {%- endif %}
    {%- if chunk_steps %}
    for (var chunk = depth_begin; chunk < depth_end; chunk += {{ chunk_steps * depth_step }}u) {
    let chunk_end = min(chunk + {{ chunk_steps * depth_step }}u, depth_end);
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    var chunk_{{ r }}_{{ v }} = vec4<f32>();
    {%- endfor %}{% endfor %}
    for (var start = chunk; start < chunk_end; start += {{ depth_step }}u) {
    {%- elif is_whole %}
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    var chunk_{{ r }}_{{ v }} = vec4<f32>();
    {%- endfor %}{% endfor %}
    {
        let start = depth_begin;
    {%- else %}
    for (var start = depth_begin; start < depth_end; start += {{ depth_step }}u) {
    {%- endif %}
        {%- if prefetch %}
        {%- include "tile/product/put.wgsl" %}
        workgroupBarrier();
        if start + {{ depth_step }}u < depth_end {
            let start = start + {{ depth_step }}u;
            {%- include "tile/product/fetch.wgsl" %}
        }
        {%- else %}
        {% include stage %}
        workgroupBarrier();
        {%- endif %}
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
    {%- if chunk_steps or is_whole %}
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    {%- if combine == "chebyshev" %}
    sum_{{ r }}_{{ v }} = max(sum_{{ r }}_{{ v }}, chunk_{{ r }}_{{ v }});
    {%- else %}
    sum_{{ r }}_{{ v }} += chunk_{{ r }}_{{ v }};
    {%- endif %}
    {%- endfor %}{% endfor %}
    {%- if chunk_steps %}
    }
    {%- endif %}
    {%- endif %}
