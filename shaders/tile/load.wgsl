{#- What product.wgsl reads, four rows at a time, and where it keeps them.
    Expects  buffers `x` [.., depth] and `y` [columns, depth], `params` with rows, columns and depth, and `x_row(i)`:
             the row of x that stands at position i, for i below params.rows. -#}
var<workgroup> shared_x: array<vec4<f32>, {{ depth_step * x_stride }}>;
var<workgroup> shared_y: array<vec4<f32>, {{ depth_step * y_stride }}>;

/// Four rows of x at one depth; rows and depths beyond the end are 0.
fn load_x(first: u32, depth: u32) -> vec4<f32> {
    var values = vec4<f32>();
    if depth < params.depth {
        {%- for i in range(4) %}
        if first + {{ i }}u < params.rows {
            values.{{ "xyzw"[i] }} = x[x_row(first + {{ i }}u) * params.depth + depth];
        }
        {%- endfor %}
    }
    return values;
}

/// Four columns of y at one depth; columns and depths beyond the end are 0.
fn load_y(first: u32, depth: u32) -> vec4<f32> {
    var values = vec4<f32>();
    if depth < params.depth {
        {%- for i in range(4) %}
        if first + {{ i }}u < params.columns {
            values.{{ "xyzw"[i] }} = y[(first + {{ i }}u) * params.depth + depth];
        }
        {%- endfor %}
    }
    return values;
}
