{#- Where the columns that are within a row's limits are counted and listed.
    Expects  `counts`, `pairs`, `params.room`.
    Gives    `add_counts` and `put_pairs`. -#}
fn add_counts(row: u32, listed: u32, sure: u32) {
    let at = 1u + 2u * row;
    if listed != 0u {
        atomicAdd(&counts[at], listed);
    }
    if sure != 0u {
        atomicAdd(&counts[at + 1u], sure);
    }
}

fn put_pairs(first: u32, row: u32, column: u32, listed: u32) {
    var slot = first;
    var left = listed;
    while left != 0u && slot < params.room {
        pairs[slot] = vec2<u32>(row, column + firstTrailingBit(left));
        left &= left - 1u;
        slot += 1u;
    }
}
