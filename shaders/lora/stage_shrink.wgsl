{#- One step of the panels of product.wgsl: eight features of four rows at once, inputs before weights. -#}
        {%- set vectors = depth_step // 8 %}
        {%- set x_slots = tile_rows // 4 * vectors %}
        {%- set y_slots = tile_columns // 4 * vectors %}
        for (var slot = local; slot < {{ x_slots + y_slots }}u; slot += {{ invocations }}u) {
            if slot < {{ x_slots }}u {
                let part = slot % {{ vectors }}u * 8u;
                let group = slot / {{ vectors }}u;
                stage_inputs(group * 4u, start + part, part * {{ x_stride }}u + group);
            } else {
                let part = (slot - {{ x_slots }}u) % {{ vectors }}u * 8u;
                let group = (slot - {{ x_slots }}u) / {{ vectors }}u;
                stage_weights(group * 4u, start + part, part * {{ y_stride }}u + group);
            }
        }
