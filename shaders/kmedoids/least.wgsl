{#- The least of one 64-bit number per invocation, with who it belongs to; ties to the lowest owner.
    Expects  numbers.wgsl, workgroups of 256. -#}
var<workgroup> shared_least: array<vec2<u32>, 256>;
var<workgroup> shared_owners: array<u32, 256>;

/// Afterwards entry 0 of both arrays has the least of all invocations.
fn find_least(local: u32, number: vec2<u32>, owner: u32) {
    shared_least[local] = number;
    shared_owners[local] = owner;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if local < half {
            let other = shared_least[local + half];
            let other_owner = shared_owners[local + half];
            let is_equal = all(other == shared_least[local]);
            if is_less(other, shared_least[local]) || (is_equal && other_owner < shared_owners[local]) {
                shared_least[local] = other;
                shared_owners[local] = other_owner;
            }
        }
        workgroupBarrier();
    }
}
