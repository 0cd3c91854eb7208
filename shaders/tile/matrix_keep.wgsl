{#- Folds one column of a subgroup's matrices of sums.
    Expects  `lies` (where in the tile its first column lies), `column_tile`, what matrix_places.wgsl gives, and the
             template's n (which column of matrices). -#}
            {%- for e in range(elements) %}
            {
                let terms = shared_columns[lies + column_{{ e }}];
                {%- for m in range(blocks) %}
                {
                    let value = terms.x - weight_{{ m }}_{{ e }} * terms.y - params.unscale * sum_{{ m }}_{{ n }}_elements[{{ e }}];
                    tile_{{ m }}_{{ e }} = select(tile_{{ m }}_{{ e }}, column_tile + lies, value < best_{{ m }}_{{ e }});
                    second_{{ m }}_{{ e }} = min(second_{{ m }}_{{ e }}, max(best_{{ m }}_{{ e }}, value));
                    best_{{ m }}_{{ e }} = min(best_{{ m }}_{{ e }}, value);
                }
                {%- endfor %}
            }
            {%- endfor %}
