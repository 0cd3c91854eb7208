{#- What select.wgsl needs of the module: workgroup memory, and bits of an f32 as keys that order as unsigned integers. -#}
var<workgroup> shared_bins: array<atomic<u32>, 256>;
var<workgroup> shared_prefix: u32;
var<workgroup> shared_left: u32;

fn ordered(bits: u32) -> u32 {
    return bits ^ select(0x80000000u, 0xffffffffu, (bits >> 31u) != 0u);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(key ^ select(0xffffffffu, 0x80000000u, (key >> 31u) != 0u));
}
