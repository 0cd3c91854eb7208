{#- Puts what fetch.wgsl read into the shared panels, which are stored by depth, so that product.wgsl reads vectors of
    four rows: vectors of four features are turned.
    Expects  `pieces` and `next_<read>_<row>` of fetch.wgsl. -#}
        {%- for read in pieces %}
        {
            let slot = local + {{ read.from + read.first }}u;
            {%- if read.to %}
            if slot < {{ read.to }}u {
            {%- endif %}
            let depth = slot % {{ depth_slots }}u{{ " * 4u" if has_vectors }};
            {%- for side in ["x", "y"] if read.side in [side, "both"] %}
            {%- set stride = x_stride if side == "x" else y_stride %}
            {%- if read.side == "both" %}
            if {{ "slot < " ~ x_slots ~ "u" if side == "x" else "slot >= " ~ x_slots ~ "u" }} {
            {%- endif %}
            let {{ side }}_at = depth * {{ stride }}u + {{ "slot" if side == "x" else "(slot - " ~ x_slots ~ "u)" }} / {{ depth_slots }}u;
            {%- for k in range(slot_width) %}
            {%- set next = "next_" ~ read.index ~ "_" %}
            shared_{{ side }}[{{ side }}_at + {{ k * stride }}u] =
            {%- if has_vectors %}
                {%- set part = "." ~ "xyzw"[k] %} vec4<f32>({{ next }}0{{ part }}, {{ next }}1{{ part }}, {{ next }}2{{ part }}, {{ next }}3{{ part }});
            {%- else %} {{ next }}0;
            {%- endif %}
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
