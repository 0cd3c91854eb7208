{#- Where columns are added to lists.
    Expects  `lists`, `params.room`.
    Gives    `add_entry`. -#}
fn add_entry(row: u32, column: u32, value: f32, upper: f32) {
    let start = row * (3u * params.room + 1u);
    let slot = atomicAdd(&lists[start], 1u);
    if slot < params.room {
        atomicStore(&lists[start + 1u + 3u * slot], bitcast<u32>(value));
        atomicStore(&lists[start + 2u + 3u * slot], bitcast<u32>(upper));
        atomicStore(&lists[start + 3u + 3u * slot], column);
    }
}
