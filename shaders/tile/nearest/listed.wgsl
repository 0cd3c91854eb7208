{#- A row that its tile did not certify. -#}
struct Listed {
    row: u32,
    // By its own tile, and before.
    nearest: u32,
    before: u32,
    // The nearest column has a value of at most this.
    limit: f32,
}
