{#- One step of the panels of product.wgsl: what shrink made of four positions, and four columns of one rank vector. -#}
        {%- set x_slots = tile_rows // 4 * depth_step %}
        {%- set y_slots = tile_columns // 4 * depth_step %}
        for (var slot = local; slot < {{ x_slots + y_slots }}u; slot += {{ invocations }}u) {
            if slot < {{ x_slots }}u {
                let index = start + slot % {{ depth_step }}u;
                let group = slot / {{ depth_step }}u;
                var values = vec4<f32>();
                {%- for i in range(4) %}
                if index < rank && group * 4u + {{ i }}u < count {
                    values.{{ "xyzw"[i] }} = load_shrunk(first + group * 4u + {{ i }}u, first_value + index);
                }
                {%- endfor %}
                shared_x[slot % {{ depth_step }}u * {{ x_stride }}u + group] = values;
            } else {
                let index = start + (slot - {{ x_slots }}u) / {{ tile_columns // 4 }}u;
                let group = (slot - {{ x_slots }}u) % {{ tile_columns // 4 }}u;
                var values = vec4<f32>();
                if index < rank && column_tile + group * 4u < row_target.w {
                    let column = column_tile + group * 4u;
                    if has_one_page {
                        values = load_weights(shared_entries[index], column);
                    } else {
                        let entry = page_entry(b_first + index * row_pages + (column >> params.page_shift));
                        values = load_weights(entry, column);
                    }
                }
                shared_y[(index - start) * {{ y_stride }}u + group] = values;
            }
        }
