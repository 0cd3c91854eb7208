{#- One step of the panels of product.wgsl, from what load.wgsl reads.
    Expects  `row_tile`, `column_tile` (first row and column of the tile), and load.wgsl with what that expects. -#}
        // Each invocation brings whole vectors of four rows at one depth: the panels are stored by depth, so that the
        // steps below read vectors.
        {%- for i in range(x_loads) %}
        {
            let slot = local + {{ i * invocations }}u;
            let depth = start + slot % {{ depth_step }}u;
            let group = slot / {{ depth_step }}u;
            shared_x[(slot % {{ depth_step }}u) * {{ x_stride }}u + group] = load_x(row_tile + group * 4u, depth);
        }
        {%- endfor %}
        {%- for i in range(y_loads) %}
        {
            let slot = local + {{ i * invocations }}u;
            let depth = start + slot % {{ depth_step }}u;
            let group = slot / {{ depth_step }}u;
            shared_y[(slot % {{ depth_step }}u) * {{ y_stride }}u + group] = load_y(column_tile + group * 4u, depth);
        }
        {%- endfor %}
