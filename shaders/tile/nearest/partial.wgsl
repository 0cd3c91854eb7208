{#- What a row keeps of one split of the columns. -#}
struct Partial {
    best: f32,
    second: f32,
    column: u32,
}
