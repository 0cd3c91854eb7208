{#- What plain WGSL does in place of matrix units: adds the products of four features to one element. A fault of the
    self-test makes it wrong.
    Expects  `products`, and the template's m, n, e; `is_first` (whether these are the first four features). -#}
                        {%- set sum = "sum_" ~ m ~ "_" ~ n ~ "_elements[" ~ e ~ "]" %}
                        {%- for i in range(4) %}
                        {%- set product = "products." ~ "xyzw"[i] %}
                        {%- if fault == "narrow sums" %}
                        {{ sum }} = bitcast<f32>((bitcast<u32>({{ sum }} + {{ product }}) + 0x1000u) & 0xffffe000u);
                        {%- elif fault == "lost products" and m == 0 and n == 0 and i == 3 %}
                        {{ sum }} += select({{ product }}, 0.0, subgroup == 0u && place_{{ e }} == 9u && is_first);
                        {%- else %}
                        {{ sum }} += {{ product }};
                        {%- endif %}
                        {%- endfor %}
