{#- What product.wgsl reads, and where it keeps it.
    Expects  buffers `x` [.., depth] and `y` [columns, depth], of `operand` each, `params` with rows, columns and depth,
             and `x_row(i)`: the row of x that stands at position i, for i below params.rows. -#}
var<workgroup> shared_x: array<vec4<f32>, {{ depth_step * x_stride }}>;
var<workgroup> shared_y: array<vec4<f32>, {{ depth_step * y_stride }}>;
{%- if has_vectors %}

/// Four features of one row of x; rows and depths beyond the end are 0. The depth is a multiple of 4.
fn load_x(row: u32, depth: u32) -> vec4<f32> {
    if row < params.rows && depth < params.depth {
        return x[(x_row(row) * params.depth + depth) / 4u];
    }
    return vec4<f32>();
}

/// Four features of one column of y; columns and depths beyond the end are 0.
fn load_y(column: u32, depth: u32) -> vec4<f32> {
    if column < params.columns && depth < params.depth {
        return y[(column * params.depth + depth) / 4u];
    }
    return vec4<f32>();
}
{%- else %}

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
{%- endif %}
