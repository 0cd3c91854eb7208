// Computes  y[row, j] += scale * sum_i shrunk[position, i] B[j, i]
{%- if is_routed %} for all routes of a row, in their order, rounded to the type of y once.
{%- else %} for chunks of at most {{ rows }} positions of one adapter.
{%- endif %}
// Mapping   Workgroup id x is a tile of {{ 4 * invocations }} columns of one projection, y and z the chunk
{%- if is_routed %} (row, first, count: its
//           positions in the order of its routes).
{%- else %} (adapter, first, count).
{%- endif %}
//           An invocation owns four neighbouring columns.
// Bounds    Chunks beyond params.chunks, adapters of another slab or without rank for the projection, and columns beyond
//           the last read and write nothing. Rank vectors beyond the last are 0 times 0.
// Numerics  One chain of fma over the rank for each output, then one fma with the scale: the same as expand_tile.wgsl.

{% include "lora/expand_head.wgsl" %}

// Values of {{ span }} rank vectors at a time.
var<workgroup> shared_values: array<f32, {{ rows * span }}>;
// Their pages in the tile of columns.
var<workgroup> shared_entries: array<u32, {{ span * (4 * invocations // 16) }}>;

@compute @workgroup_size({{ invocations }})
fn expand(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let number = workgroup.y + workgroup.z * params.chunks_across;
    if number >= params.chunks {
        return;
    }
    let chunk = params.first_chunk + 4u * number;
    let first = tables[chunk + 1u];
    let count = tables[chunk + 2u];
    let projection = projection_of(workgroup.x);
    let row_target = params.targets[projection];
    let column = (workgroup.x - first_tile(projection)) * {{ 4 * invocations }}u + local * 4u;
    let columns = select(0u, row_target.w - column, column < row_target.w);
    let row_pages = (row_target.w + (1u << params.page_shift) - 1u) >> params.page_shift;
    let tile_pages = ({{ 4 * invocations - 1 }}u >> params.page_shift) + 1u;
    let tile_page = (column - local * 4u) >> params.page_shift;
{%- if is_routed %}
    let place = row_target.y + row_target.z * tables[chunk] + column;
    var is_loaded = false;
    var value_0 = vec4<f32>();
    for (var route = 0u; route < count; route += 1u) {
        let position = tables[params.by_row_at + first + route];
        let slot = tables[params.slots_at + position];
{%- else %}
    {
        let slot = tables[chunk];
        {%- for r in range(rows) %}
        let position_{{ r }} = first + min({{ r }}u, count - 1u);
        {%- endfor %}
{%- endif %}
        let about = (slot * params.groups + params.group) * DESCRIPTOR_WORDS;
        let rank = descriptors[about + 5u + 4u * projection];
        if rank == 0u || descriptors[about + 2u] != params.slab {
            {{ "continue" if is_routed else "return" }};
        }
        let first_value = descriptors[about + 4u + 4u * projection];
        let b_first = descriptors[about + 6u + 4u * projection];
        let own_scale = bitcast<f32>(descriptors[about + 7u + 4u * projection]);
        {%- for r in range(rows) %}
        var sum_{{ r }} = vec4<f32>();
        {%- endfor %}
        for (var begin = 0u; begin < rank; begin += {{ span }}u) {
            workgroupBarrier();
            for (var at = local; at < {{ rows * span }}u; at += {{ invocations }}u) {
                let index = begin + at % {{ span }}u;
                var value = 0.0;
                {%- if is_routed %}
                if index < rank {
                    value = load_shrunk(position, first_value + index);
                }
                {%- else %}
                if index < rank && at / {{ span }}u < count {
                    value = load_shrunk(first + at / {{ span }}u, first_value + index);
                }
                {%- endif %}
                shared_values[at] = value;
            }
            for (var at = local; at < min({{ span }}u, rank - begin) * tile_pages; at += {{ invocations }}u) {
                let page = tile_page + at % tile_pages;
                if page < row_pages {
                    shared_entries[at] = page_entry(b_first + (begin + at / tile_pages) * row_pages + page);
                }
            }
            workgroupBarrier();
            if columns > 0u {
                for (var step = 0u; step < min({{ span }}u, rank - begin); step += 8u) {
                    {%- for k in range(8) %}
                    var b_{{ k }} = vec4<f32>();
                    if begin + step + {{ k }}u < rank {
                        let at = (step + {{ k }}u) * tile_pages + (column >> params.page_shift) - tile_page;
                        b_{{ k }} = load_weights(shared_entries[at], column);
                    }
                    {%- endfor %}
                    {%- for k in range(8) %}{% for r in range(rows) %}
                    sum_{{ r }} = fma(vec4<f32>(shared_values[{{ r * span + k }}u + step]), b_{{ k }}, sum_{{ r }});
                    {%- endfor %}{% endfor %}
                }
            }
        }
        {%- if is_routed %}
        if columns > 0u {
            if !is_loaded {
                value_0 = load_outputs(place, columns);
                is_loaded = true;
            }
            let scale = own_scale * bitcast<f32>(tables[params.scales_at + position]);
            value_0 = fma(vec4<f32>(scale), sum_0, value_0);
        }
        {%- else %}
        {%- for r in range(rows) %}
        if columns > 0u && {{ r }}u < count {
            let place = row_target.y + row_target.z * tables[params.rows_at + position_{{ r }}] + column;
            let scale = own_scale * bitcast<f32>(tables[params.scales_at + position_{{ r }}]);
            store_outputs(place, columns, fma(vec4<f32>(scale), sum_{{ r }}, load_outputs(place, columns)));
        }
        {%- endfor %}
        {%- endif %}
    }
    {%- if is_routed %}
    if is_loaded {
        store_outputs(place, columns, value_0);
    }
    {%- endif %}
    {%- if counted %}
    add_counts();
    {%- endif %}
}
