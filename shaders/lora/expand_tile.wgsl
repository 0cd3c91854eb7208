// Computes  y[row, j] += scale * sum_i shrunk[position, i] B[j, i], for tiles of {{ tile_rows }} positions of one adapter by
//           {{ tile_columns }} columns of one projection.
// Mapping   Workgroup id x is the tile of columns, y and z the chunk (adapter, first, count). An invocation owns
//           {{ invocation_rows }} positions by {{ invocation_columns }} columns.
// Bounds    Positions, columns and rank vectors beyond the last are loaded as 0, and their results are not written.
// Numerics  One chain of fma over the rank for each output, then one fma with the scale: the same as expand.wgsl.

{% include "lora/expand_head.wgsl" %}

var<workgroup> shared_x: array<vec4<f32>, {{ depth_step * x_stride }}>;
var<workgroup> shared_y: array<vec4<f32>, {{ depth_step * y_stride }}>;
// The pages of the rank vectors, where the tile of columns lies in one page.
var<workgroup> shared_entries: array<u32, {{ most_rank }}>;

@compute @workgroup_size({{ invocations }})
fn expand_tile(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let number = workgroup.y + workgroup.z * params.chunks_across;
    if number >= params.chunks {
        return;
    }
    let chunk = params.first_chunk + 4u * number;
    let first = tables[chunk + 1u];
    let count = tables[chunk + 2u];
    let projection = projection_of(workgroup.x);
    let row_target = params.targets[projection];
    let column_tile = (workgroup.x - first_tile(projection)) * {{ tile_columns }}u;
    let row_pages = (row_target.w + (1u << params.page_shift) - 1u) >> params.page_shift;
    let about = (tables[chunk] * params.groups + params.group) * DESCRIPTOR_WORDS;
    let rank = descriptors[about + 5u + 4u * projection];
    if rank == 0u || descriptors[about + 2u] != params.slab {
        return;
    }
    let first_value = descriptors[about + 4u + 4u * projection];
    let b_first = descriptors[about + 6u + 4u * projection];
    let own_scale = bitcast<f32>(descriptors[about + 7u + 4u * projection]);
    let has_one_page = (1u << params.page_shift) >= {{ tile_columns }}u;
    if has_one_page {
        for (var vector = local; vector < rank; vector += {{ invocations }}u) {
            shared_entries[vector] = page_entry(b_first + vector * row_pages + (column_tile >> params.page_shift));
        }
        workgroupBarrier();
    }
    let own_row = local / {{ threads_across }}u;
    let own_column = local % {{ threads_across }}u;
    let depth_begin = 0u;
    let depth_end = rank;
    {% include "tile/product/product.wgsl" %}
    {%- for r in range(invocation_rows) %}
    {
        let row = own_row * {{ invocation_rows }}u + {{ r }}u;
        if row < count {
            let scale = own_scale * bitcast<f32>(tables[params.scales_at + first + row]);
            let start = row_target.y + row_target.z * tables[params.rows_at + first + row];
            {%- for v in range(invocation_columns // 4) %}
            {
                let column = column_tile + own_column * {{ invocation_columns }}u + {{ 4 * v }}u;
                if column < row_target.w {
                    let count = row_target.w - column;
                    let before = load_outputs(start + column, count);
                    store_outputs(start + column, count, fma(vec4<f32>(scale), sum_{{ r }}_{{ v }}, before));
                }
            }
            {%- endfor %}
        }
    }
    {%- endfor %}
    {%- if counted %}
    add_counts();
    {%- endif %}
}
