{#- A fault of the self-test: sums that are counted twice. -#}
            {%- if fault == "doubled sums" %}
            {%- for e in range(elements) %}
            sum_0_0_elements[{{ e }}] *= select(1.0, 2.0, subgroup == 2u && place_{{ e }} == 9u);
            {%- endfor %}
            {%- endif %}
