{#- Merges what the elements of each row kept, one row of matrices at a time, and stores it.
    Expects  `own_down` and `own_across` (the subgroup's place in the tile), and what places.wgsl gives. -#}
    {%- set per_row = size * across %}
    {%- set rows_down = subgroups // across * size %}
    {%- for m in range(blocks) %}
    workgroupBarrier();
    {%- for e in range(elements) %}
    {
        let to = (own_down * {{ size }}u + row_{{ e }}) * {{ per_row }}u + own_across * {{ size }}u + column_{{ e }};
        shared_best[to] = best_{{ m }}_{{ e }};
        shared_second[to] = second_{{ m }}_{{ e }};
        shared_column[to] = tile_{{ m }}_{{ e }} + column_{{ e }};
    }
    {%- endfor %}
    workgroupBarrier();
    for (var own = local; own < {{ rows_down }}u; own += {{ invocations }}u) {
        let row = row_tile + own / {{ size }}u * {{ blocks * size }}u + {{ m * size }}u + own % {{ size }}u;
        if row < params.rows {
            var merged = Partial(2e38, 2e38, 0u);
            for (var i = own * {{ per_row }}u; i < own * {{ per_row }}u + {{ per_row }}u; i += 1u) {
                let best = shared_best[i];
                merged.second = min(min(merged.second, shared_second[i]), max(merged.best, best));
                merged.column = select(merged.column, shared_column[i], best < merged.best);
                merged.best = min(merged.best, best);
            }
            merged.column += params.first_column;
            partials[(params.first_split + workgroup.y) * params.stride + row] = merged;
        }
    }
    {%- endfor %}
