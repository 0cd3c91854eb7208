{#- What one row of a radius search wants. -#}
struct Limits {
    upper: f32,
    lower: f32,
    // A column that does not count for the row.
    left_out: u32,
}
