{#- One tile of rows and columns whose values are compared with limits of the rows.
    Expects  `local`, `workgroup`, step_operands.wgsl, `limits`, and the template's no_limit: the limit of rows beyond the end,
             which lets nothing in.
    Gives    for each row r of the invocation `row_<r>` and `limit_<r>`; `column`, the first of the invocation's; and the sums
             of product.wgsl. -#}
    let own_row = local / {{ threads_across }}u;
    let own_column = local % {{ threads_across }}u;
    let row_tile = workgroup.x * {{ tile_rows }}u;
    let column_tile = workgroup.y * {{ tile_columns }}u;
    {%- for r in range(invocation_rows) %}
    let row_{{ r }} = row_tile + own_row * {{ invocation_rows }}u + {{ r }}u;
    var limit_{{ r }} = {{ no_limit }};
    if row_{{ r }} < params.rows {
        limit_{{ r }} = limits[params.first_row + row_{{ r }}];
    }
    {%- endfor %}
    let depth_begin = 0u;
    let depth_end = params.depth;
    {% include "tile/product/product.wgsl" %}
    let column = column_tile + own_column * {{ invocation_columns }}u;
