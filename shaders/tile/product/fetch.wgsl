{#- Reads one step of the panels of product.wgsl into registers.
    Expects  `start` (its first feature), `local`, `row_tile`, `column_tile`, load.wgsl with what that expects, and
             `pieces`: what each invocation reads, x before y, depths beside each other.
    Gives    `next_<read>_<row>`: with vectors four features of one of four rows, else four rows at one feature. -#}
        {%- for read in pieces %}
        {%- for k in range(slot_width) %}
        {{ "" if prefetch else "var " }}next_{{ read.index }}_{{ k }} = vec4<f32>();
        {%- endfor %}
        {
            let slot = local + {{ read.from + read.first }}u;
            {%- if read.to %}
            if slot < {{ read.to }}u {
            {%- endif %}
            let depth = start + slot % {{ depth_slots }}u{{ " * 4u" if has_vectors }};
            {%- if read.side == "both" %}
            let is_x = slot < {{ x_slots }}u;
            {%- endif %}
            {%- for side in ["x", "y"] if read.side in [side, "both"] %}
            {%- if read.side == "both" %}
            if {{ "is_x" if side == "x" else "!is_x" }} {
            {%- endif %}
            let {{ side }}_first = {{ "row_tile + slot" if side == "x" else "column_tile + (slot - " ~ x_slots ~ "u)" }} / {{ depth_slots }}u * 4u;
            {%- for k in range(slot_width) %}
            next_{{ read.index }}_{{ k }} = load_{{ side }}({{ side }}_first{{ " + " ~ k ~ "u" if k }}, depth);
            {%- endfor %}
            {%- if read.side == "both" %}
            }
            {%- endif %}
            {%- endfor %}
            {%- if read.to %}
            }
            {%- endif %}
        }
        {%- endfor %}
