{#- Folds one column of a subgroup's matrices of sums.
    Expects  fold, `lies` (where in the tile its first column lies), `column_tile`, what places.wgsl gives, and the
             template's n (which column of matrices). -#}
            {%- for e in range(elements) %}
            {
                let terms = shared_columns[lies + column_{{ e }}];
                {%- for m in range(blocks) %}
                {
                    {%- if fold == "collect" %}
                    let share = weight_{{ m }}_{{ e }} * terms.y;
                    let value = terms.x - share - params.unscale * sum_{{ m }}_{{ n }}_elements[{{ e }}];
                    if value <= limit_{{ m }}_{{ e }} {
                        keep(own_tile + {{ m * size }}u + row_{{ e }}, column_tile + lies + column_{{ e }}, value, share);
                    }
                    {%- else %}
                    let value = terms.x - weight_{{ m }}_{{ e }} * terms.y - params.unscale * sum_{{ m }}_{{ n }}_elements[{{ e }}];
                    tile_{{ m }}_{{ e }} = select(tile_{{ m }}_{{ e }}, column_tile + lies, value < best_{{ m }}_{{ e }});
                    second_{{ m }}_{{ e }} = min(second_{{ m }}_{{ e }}, max(best_{{ m }}_{{ e }}, value));
                    best_{{ m }}_{{ e }} = min(best_{{ m }}_{{ e }}, value);
                    {%- endif %}
                }
                {%- endfor %}
            }
            {%- endfor %}
