// Computes  result[r, c] = finish(sum over d of step(x[r, d], y[c, d])), for a window of X and a window of Y, row-major.
//           Here {{ metric }}; the module of distances has its formula.
// Mapping   A workgroup owns a tile of {{ tile_rows }} rows and {{ tile_columns }} columns; an invocation owns 4 rows by 4 columns, with
//           one or two accumulators per pair. Workgroup id y counts row tiles, x column tiles.
// Bounds    Rows, columns and features beyond the last are loaded as 0, which adds nothing, and their results are not
//           written. Dispatches cover rows first_row .. rows; both windows start at index 0 of their bindings.
// Numerics  One chain of additions per {{ chunk }} features, chunks added in order, as on the CPU; quotients, logarithms and
//           powers by the formulas of src/distance/functions.rs. A result depends on its two rows alone. Infinite results
//           are written as 2^127, which the host refuses.

{{ AccumulateParams }}
{% set scalar = "u32" if is_packed else "f32" %}
@group(0) @binding(0) var<storage, read> x: array<{{ scalar }}>;
@group(0) @binding(1) var<storage, read> y: array<{{ scalar }}>;
{% if metric == "minkowski" -%}
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> results: array<f32>;
@group(0) @binding(4) var<uniform> params: AccumulateParams;
{%- else -%}
@group(0) @binding(2) var<storage, read_write> results: array<f32>;
@group(0) @binding(3) var<uniform> params: AccumulateParams;
{%- endif %}

var<workgroup> shared_x: array<vec4<{{ scalar }}>, {{ depth_step * x_stride }}>;
var<workgroup> shared_y: array<vec4<{{ scalar }}>, {{ depth_step * y_stride }}>;

/// Four rows of x at one depth; rows and depths beyond the end are 0.
fn load_x(first: u32, depth: u32) -> vec4<{{ scalar }}> {
    var values = vec4<{{ scalar }}>();
    if depth < params.depth {
        {%- for i in range(4) %}
        if first + {{ i }}u < params.rows {
            values.{{ "xyzw"[i] }} = x[(first + {{ i }}u) * params.depth + depth];
        }
        {%- endfor %}
    }
    return values;
}

/// Four columns of y at one depth; columns and depths beyond the end are 0.
fn load_y(first: u32, depth: u32) -> vec4<{{ scalar }}> {
    var values = vec4<{{ scalar }}>();
    if depth < params.depth {
        {%- for i in range(4) %}
        if first + {{ i }}u < params.columns {
            values.{{ "xyzw"[i] }} = y[(first + {{ i }}u) * params.depth + depth];
        }
        {%- endfor %}
    }
    return values;
}

const REFUSED: f32 = 0x1p127f;
const SMALLEST: f32 = 0x1p-126f;
{% include "distance/functions.wgsl" %}
{% include "distance/steps.wgsl" %}
fn store_results(row: u32, column: u32, a: vec4<{{ scalar }}>, b: vec4<{{ scalar }}>, largest: vec4<f32>) {
    if row >= params.rows {
        return;
    }
    let start = row * params.columns;
    {%- for c in range(4) %}
    {%- set part = "xyzw"[c] %}
    if column + {{ c }}u < params.columns {
        results[start + column + {{ c }}u] = finish(a.{{ part }}, b.{{ part }}, largest.{{ part }});
    }
    {%- endfor %}
}

@compute @workgroup_size({{ invocations }})
fn accumulate(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let own_row = local / {{ threads_across }}u;
    let own_column = local % {{ threads_across }}u;
    let row_tile = params.first_row + workgroup.y * {{ tile_rows }}u;
    let column_tile = workgroup.x * {{ tile_columns }}u;
    {%- for r in range(4) %}
    var a_{{ r }} = vec4<{{ scalar }}>();
    var b_{{ r }} = vec4<{{ scalar }}>();
    var largest_{{ r }} = vec4<f32>();
    var scale_{{ r }} = vec4<f32>();
    {%- endfor %}
    {%- for pass in passes %}
    for (var chunk = 0u; chunk < params.depth; chunk += {{ chunk }}u) {
        let chunk_end = min(chunk + {{ chunk }}u, params.depth);
        {%- for r in range(4) %}
        var chunk_a_{{ r }} = vec4<{{ scalar }}>();
        var chunk_b_{{ r }} = vec4<{{ scalar }}>();
        {%- endfor %}
        for (var start = chunk; start < chunk_end; start += {{ depth_step }}u) {
            for (var slot = local; slot < {{ (tile_rows + tile_columns) // 4 * depth_step }}u; slot += {{ invocations }}u) {
                let four = slot / {{ depth_step }}u;
                let d = slot % {{ depth_step }}u;
                if four < {{ tile_rows // 4 }}u {
                    shared_x[d * {{ x_stride }}u + four] = load_x(row_tile + 4u * four, start + d);
                } else {
                    let across = four - {{ tile_rows // 4 }}u;
                    shared_y[d * {{ y_stride }}u + across] = load_y(column_tile + 4u * across, start + d);
                }
            }
            workgroupBarrier();
            for (var d = 0u; d < {{ depth_step }}u; d += 1u) {
                let x_four = shared_x[d * {{ x_stride }}u + own_row];
                let y_four = shared_y[d * {{ y_stride }}u + own_column];
                {%- if metric == "minkowski" %}
                var weight = 1.0;
                if params.weighted == 1u && start + d < params.depth {
                    weight = weights[start + d];
                }
                {%- endif %}
                {%- for r in range(4) %}
                {%- set one = "vec4<" ~ scalar ~ ">(x_four." ~ "xyzw"[r] ~ ")" %}
                {%- if pass == "largest" %}
                chunk_a_{{ r }} = max(chunk_a_{{ r }}, weight * abs({{ one }} - y_four));
                {%- elif pass == "powers" %}
                chunk_a_{{ r }} += power(weight * abs({{ one }} - y_four) * scale_{{ r }}, params.power);
                {%- else %}
                step(&chunk_a_{{ r }}, &chunk_b_{{ r }}, {{ one }}, y_four);
                {%- endif %}
                {%- endfor %}
            }
            workgroupBarrier();
        }
        {%- for r in range(4) %}
        {%- if pass == "largest" %}
        largest_{{ r }} = max(largest_{{ r }}, chunk_a_{{ r }});
        {%- else %}
        a_{{ r }} += chunk_a_{{ r }};
        b_{{ r }} += chunk_b_{{ r }};
        {%- endif %}
        {%- endfor %}
    }
    {%- if pass == "largest" %}
    {%- for r in range(4) %}
    let is_zero_{{ r }} = largest_{{ r }} < vec4<f32>(SMALLEST);
    largest_{{ r }} = select(largest_{{ r }}, vec4<f32>(), is_zero_{{ r }});
    scale_{{ r }} = select(vec4<f32>(1.0) / max(largest_{{ r }}, vec4<f32>(SMALLEST)), vec4<f32>(), is_zero_{{ r }});
    {%- endfor %}
    {%- endif %}
    {%- endfor %}
    let row = row_tile + own_row * 4u;
    let column = column_tile + own_column * 4u;
    {%- for r in range(4) %}
    store_results(row + {{ r }}u, column, a_{{ r }}, b_{{ r }}, largest_{{ r }});
    {%- endfor %}
}
