// Computes  shrunk[plane, position, i] = sum_d x[row, d] A[i, d], d in the blocks of the plane, for chunks of at most
//           {{ rows }} positions of one adapter; i goes through the rank vectors of all projections of a group.
// Mapping   Workgroup id x is the plane (params.blocks_per_plane blocks of {{ block }} features) with the group of rank
//           vectors, y and z the chunk. A group takes every params.rank_groups-th round of {{ ranks }} vectors. An invocation owns {{ chain }} neighbouring features of every block and keeps those of x in registers.
// Bounds    Chunks beyond params.chunks and adapters of another slab or without rank end at once. Features beyond the
//           last are 0 in x and in the pages. Positions beyond the chunk's count repeat its last and are not stored.
// Numerics  One chain of fma per {{ chain }} features, the chains of a block added in order, the blocks of a plane added in
//           order: the same as shrink_tile.wgsl, whatever the chunk.

{% include "lora/shrink_head.wgsl" %}
// One row per position and rank vector, one place longer than needed: neighbouring rows lie in different banks.
const ROW: u32 = {{ lanes + 1 }}u;
var<workgroup> shared_parts: array<f32, {{ rows * ranks * (lanes + 1) }}>;
// The pages of the block, for each rank vector of a round: at most one for each {{ chain }} features.
var<workgroup> shared_entries: array<u32, {{ ranks * lanes }}>;

@compute @workgroup_size({{ lanes }})
fn shrink(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let number = workgroup.y + workgroup.z * params.chunks_across;
    if number >= params.chunks {
        return;
    }
    let chunk = params.first_chunk + 4u * number;
    let about = (tables[chunk] * params.groups + params.group) * DESCRIPTOR_WORDS;
    let first = tables[chunk + 1u];
    let count = tables[chunk + 2u];
    let rank = descriptors[about];
    if rank == 0u || descriptors[about + 2u] != params.slab {
        return;
    }
    let a_first = descriptors[about + 1u];
    let row_pages = (params.inputs + (1u << params.page_shift) - 1u) >> params.page_shift;
    {%- for r in range(rows) %}
    let start_{{ r }} = params.x_first + params.x_stride * tables[params.rows_at + first + min({{ r }}u, count - 1u)];
    {%- endfor %}
    // The sum that this invocation adds up and stores.
    let own_row = lane / {{ ranks }}u;
    let own_rank = lane % {{ ranks }}u;
    let is_owner = own_row < min(count, {{ rows }}u);
    let planes = (params.blocks + params.blocks_per_plane - 1u) / params.blocks_per_plane;
    let plane = workgroup.x % planes;
    let first_round = workgroup.x / planes * {{ ranks }}u;
    let own_place = (plane * params.positions + first + own_row) * params.stride + own_rank;
    let first_block = plane * params.blocks_per_plane;
    let end_block = min(first_block + params.blocks_per_plane, params.blocks);
    for (var block = first_block; block < end_block; block += 1u) {
        let feature = block * {{ block }}u + lane * {{ chain }}u;
        {%- for r in range(rows) %}
        {%- if r > 0 %}
        var x_{{ r }}_0 = array<vec4<f32>, 2>();
        var x_{{ r }}_1 = array<vec4<f32>, 2>();
        if {{ r }}u < count {
            x_{{ r }}_0 = load_inputs(start_{{ r }}, feature);
            x_{{ r }}_1 = load_inputs(start_{{ r }}, feature + 8u);
        }
        {%- else %}
        let x_{{ r }}_0 = load_inputs(start_{{ r }}, feature);
        let x_{{ r }}_1 = load_inputs(start_{{ r }}, feature + 8u);
        {%- endif %}
        {%- endfor %}
        let block_pages = ({{ block - 1 }}u >> params.page_shift) + 1u;
        let block_page = (block * {{ block }}u) >> params.page_shift;
        for (var round = first_round; round < rank; round += params.rank_groups * {{ ranks }}u) {
            for (var at = lane; at < {{ ranks }}u * block_pages; at += {{ lanes }}u) {
                let vector = round + at / block_pages;
                let page = block_page + at % block_pages;
                if vector < rank && page < row_pages {
                    shared_entries[at] = page_entry(a_first + vector * row_pages + page);
                }
            }
            workgroupBarrier();
            {%- for g in range(ranks) %}
            var a_{{ g }}_0 = array<vec4<f32>, 2>();
            var a_{{ g }}_1 = array<vec4<f32>, 2>();
            if round + {{ g }}u < rank && feature < params.inputs {
                let entry = shared_entries[{{ g }}u * block_pages + (feature >> params.page_shift) - block_page];
                a_{{ g }}_0 = load_weights(entry, feature);
                if feature + 8u < params.inputs {
                    a_{{ g }}_1 = load_weights(entry, feature + 8u);
                }
            }
            {%- endfor %}
            {%- for g in range(ranks) %}
            {%- for r in range(rows) %}
            {
                var part = 0.0;
                {%- for h in range(2) %}{% for k in range(8) %}
                part = fma(x_{{ r }}_{{ h }}[{{ k // 4 }}].{{ "xyzw"[k % 4] }}, a_{{ g }}_{{ h }}[{{ k // 4 }}].{{ "xyzw"[k % 4] }}, part);
                {%- endfor %}{% endfor %}
                shared_parts[{{ r * ranks + g }}u * ROW + lane] = part;
            }
            {%- endfor %}
            {%- endfor %}
            workgroupBarrier();
            if is_owner && round + own_rank < rank {
                var sum = 0.0;
                for (var at = lane * ROW; at < lane * ROW + {{ lanes }}u; at += 8u) {
                    {%- for k in range(8) %}
                    sum += shared_parts[at + {{ k }}u];
                    {%- endfor %}
                }
                if block > first_block {
                    sum = shrunk[own_place + round] + sum;
                }
                shrunk[own_place + round] = sum;
            }
            // The next round writes parts behind its first barrier only.
        }
    }
    {%- if counted %}
    add_counts();
    {%- endif %}
}
