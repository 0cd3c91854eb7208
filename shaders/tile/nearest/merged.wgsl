{#- What a certificate under the bound of a tier makes of the results of its tile.
    Expects  halves, `partials`, `errors`, `params`. -#}
/// What all splits of a row come to.
fn merged_partial(index: u32) -> Partial {
    var merged = partials[index];
    for (var split = 1u; split < params.splits; split += 1u) {
        let other = partials[split * params.stride + index];
        merged.second = min(min(merged.second, other.second), max(merged.best, other.best));
        merged.column = select(merged.column, other.column, other.best < merged.best);
        merged.best = min(merged.best, other.best);
    }
    return merged;
}

/// What a row of this length shares with every column: half of its part in the gap.
fn shared_error(norm: f32) -> f32 {
    {%- if halves %}
    return params.square * norm * norm;
    {%- else %}
    return min(params.square * norm * norm, params.slope * norm + params.constant);
    {%- endif %}
}

/// How far apart the least two values have to lie, the first of which is this column's.
fn gap_of(column: u32, norm: f32{% if halves %}, residual: f32{% endif %}) -> f32 {
    {%- if halves %}
    let error = errors[column];
    return 2.0 * ((residual + params.ratio * norm) * error.x + error.y + shared_error(norm));
    {%- else %}
    return 2.0 * (shared_error(norm) + errors[column]);
    {%- endif %}
}
