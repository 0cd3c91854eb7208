// Computes  shrunk[plane, position, i] = sum_d x[row, d] A[i, d], d in the blocks of the plane, for tiles of {{ tile_rows }}
//           positions by {{ tile_columns }} rank vectors{% if is_dense %} of all adapters of the batch{% endif %}.
// Mapping   Workgroup id x is the plane (params.blocks_per_plane blocks of {{ block }} features) with the tile of rank
//           vectors, y and z the chunk of positions. An invocation owns {{ invocation_rows }} positions by {{ invocation_columns }} vectors.
{%- if is_dense %}
//           A chunk holds positions of several adapters; a product is kept where the vector is of the position's adapter.
{%- endif %}
// Bounds    Positions, rank vectors and features beyond the last are loaded as 0, and their results are not stored.
// Numerics  One chain of fma per {{ chain }} features, the chains of a block added in order, the blocks of a plane added in
//           order: the same as shrink.wgsl, whatever the tile.

{% include "lora/shrink_head.wgsl" %}

const NONE: u32 = 0xffffffffu;
var<workgroup> shared_x: array<vec4<f32>, {{ depth_step * x_stride }}>;
var<workgroup> shared_y: array<vec4<f32>, {{ depth_step * y_stride }}>;
// The positions of the tile, and where their rows begin in x.
var<workgroup> shared_places: array<u32, {{ tile_rows }}>;
var<workgroup> shared_starts: array<u32, {{ tile_rows }}>;
// The rank vectors of the tile: the first entry of each in the pages, and its number in its adapter.
var<workgroup> shared_vectors: array<u32, {{ tile_columns }}>;
var<workgroup> shared_numbers: array<u32, {{ tile_columns }}>;
// Their pages in the block, where it has at most {{ block // 64 }}.
var<workgroup> shared_entries: array<u32, {{ tile_columns * (block // 64) }}>;
{%- if is_dense %}
// The adapter of each position and of each rank vector.
var<workgroup> shared_slots: array<u32, {{ tile_rows }}>;
var<workgroup> shared_owners: array<u32, {{ tile_columns }}>;
{%- endif %}

fn stage_inputs(row: u32, feature: u32, at: u32) {
    {%- for i in range(4) %}
    var row_{{ i }} = array<vec4<f32>, 2>();
    if shared_starts[row + {{ i }}u] != NONE {
        row_{{ i }} = load_inputs(shared_starts[row + {{ i }}u], feature);
    }
    {%- endfor %}
    {%- for k in range(8) %}
    {%- set part = "[" ~ (k // 4) ~ "]." ~ "xyzw"[k % 4] %}
    shared_x[at + {{ k * x_stride }}u] = vec4<f32>(row_0{{ part }}, row_1{{ part }}, row_2{{ part }}, row_3{{ part }});
    {%- endfor %}
}

/// The page that holds `feature` of a rank vector of the tile.
fn entry_of(column: u32, feature: u32) -> u32 {
    if params.page_shift >= 6u {
        return shared_entries[column * {{ block // 64 }}u + ((feature % {{ block }}u) >> params.page_shift)];
    }
    return page_entry(shared_vectors[column] + (feature >> params.page_shift));
}

fn stage_weights(column: u32, feature: u32, at: u32) {
    {%- for i in range(4) %}
    var row_{{ i }} = array<vec4<f32>, 2>();
    if shared_vectors[column + {{ i }}u] != NONE && feature < params.inputs {
        row_{{ i }} = load_weights(entry_of(column + {{ i }}u, feature), feature);
    }
    {%- endfor %}
    {%- for k in range(8) %}
    {%- set part = "[" ~ (k // 4) ~ "]." ~ "xyzw"[k % 4] %}
    shared_y[at + {{ k * y_stride }}u] = vec4<f32>(row_0{{ part }}, row_1{{ part }}, row_2{{ part }}, row_3{{ part }});
    {%- endfor %}
}

fn store_shrunk(row: u32, column: u32, places: u32, sum: f32) {
    {%- if is_dense %}
    if shared_slots[row] != shared_owners[column] {
        return;
    }
    {%- endif %}
    if shared_starts[row] != NONE && shared_vectors[column] != NONE {
        shrunk[places + shared_places[row] * params.stride + shared_numbers[column]] = sum;
    }
}

@compute @workgroup_size({{ invocations }})
fn shrink_tile(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let number = workgroup.y + workgroup.z * params.chunks_across;
    if number >= params.chunks {
        return;
    }
    let planes = (params.blocks + params.blocks_per_plane - 1u) / params.blocks_per_plane;
    let plane = workgroup.x % planes;
    let column_tile = workgroup.x / planes * {{ tile_columns }}u;
    let chunk = params.first_chunk + 4u * number;
    let first = tables[chunk + 1u];
    let count = tables[chunk + 2u];
    {%- if not is_dense %}
    let about = (tables[chunk] * params.groups + params.group) * DESCRIPTOR_WORDS;
    let rank = descriptors[about];
    if column_tile >= rank || descriptors[about + 2u] != params.slab {
        return;
    }
    {%- endif %}
    let row_pages = (params.inputs + (1u << params.page_shift) - 1u) >> params.page_shift;
    for (var row = local; row < {{ tile_rows }}u; row += {{ invocations }}u) {
        shared_starts[row] = NONE;
        shared_places[row] = 0u;
        {%- if is_dense %}
        shared_slots[row] = NONE;
        {%- endif %}
        if row < count {
            {%- if is_dense %}
            let place = tables[params.by_row_at + first + row];
            shared_slots[row] = tables[params.slots_at + place];
            {%- else %}
            let place = first + row;
            {%- endif %}
            shared_places[row] = place;
            shared_starts[row] = params.x_first + params.x_stride * tables[params.rows_at + place];
        }
    }
    for (var column = local; column < {{ tile_columns }}u; column += {{ invocations }}u) {
        shared_vectors[column] = NONE;
        shared_numbers[column] = 0u;
        {%- if is_dense %}
        shared_owners[column] = NONE;
        var left = column_tile + column;
        for (var at = 0u; at < params.used; at += 1u) {
            let slot = tables[params.used_at + at];
            let about = (slot * params.groups + params.group) * DESCRIPTOR_WORDS;
            let rank = descriptors[about];
            if left >= rank {
                left -= rank;
                continue;
            }
            if descriptors[about + 2u] == params.slab {
                shared_owners[column] = slot;
                shared_numbers[column] = left;
                shared_vectors[column] = descriptors[about + 1u] + left * row_pages;
            }
            break;
        }
        {%- else %}
        if column_tile + column < rank {
            shared_numbers[column] = column_tile + column;
            shared_vectors[column] = descriptors[about + 1u] + (column_tile + column) * row_pages;
        }
        {%- endif %}
    }
    workgroupBarrier();
    let own_row = local / {{ threads_across }}u;
    let own_column = local % {{ threads_across }}u;
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
    var total_{{ r }}_{{ v }} = vec4<f32>();
    {%- endfor %}{% endfor %}
    let first_block = plane * params.blocks_per_plane;
    let end_block = min(first_block + params.blocks_per_plane, params.blocks);
    for (var block = first_block; block < end_block; block += 1u) {
        let depth_begin = block * {{ block }}u;
        let depth_end = min(depth_begin + {{ block }}u, params.inputs);
        if params.page_shift >= 6u {
            let pages_of_block = ({{ block - 1 }}u >> params.page_shift) + 1u;
            for (var at = local; at < {{ tile_columns }}u * pages_of_block; at += {{ invocations }}u) {
                let vector = at / pages_of_block;
                let page = (depth_begin >> params.page_shift) + at % pages_of_block;
                if shared_vectors[vector] != NONE && page < row_pages {
                    shared_entries[vector * {{ block // 64 }}u + at % pages_of_block] =
                        page_entry(shared_vectors[vector] + page);
                }
            }
            workgroupBarrier();
        }
        {% include "tile/product/product.wgsl" %}
        {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}
        total_{{ r }}_{{ v }} += sum_{{ r }}_{{ v }};
        {%- endfor %}{% endfor %}
    }
    let places = plane * params.positions * params.stride;
    let row = own_row * {{ invocation_rows }}u;
    let column = own_column * {{ invocation_columns }}u;
    {%- for r in range(invocation_rows) %}{% for v in range(invocation_columns // 4) %}{% for c in range(4) %}
    store_shrunk(row + {{ r }}u, column + {{ 4 * v + c }}u, places, total_{{ r }}_{{ v }}.{{ "xyzw"[c] }});
    {%- endfor %}{% endfor %}{% endfor %}
    {%- if counted %}
    add_counts();
    {%- endif %}
}
