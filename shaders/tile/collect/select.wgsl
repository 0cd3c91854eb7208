{#- Finds the count-th least of a row's values, eight bits of its key at a time from the top: a histogram of the next
    eight bits among the keys that share the bits found so far.
    Expects  `local` of 64 invocations, `shared_prefix` 0 and `shared_left` the count, set by one of them; the template's
             `length` (how many values) and `key_bits` (the bits of the one in `slot`).
    Gives    `shared_prefix`, the key. -#}
    {%- for shift in [24, 16, 8, 0] %}
    for (var bin = local; bin < 256u; bin += 64u) {
        atomicStore(&shared_bins[bin], 0u);
    }
    workgroupBarrier();
    {
        let prefix = shared_prefix;
        for (var slot = local; slot < {{ length }}; slot += 64u) {
            let key = ordered({{ key_bits }});
            {%- if shift == 24 %}
            atomicAdd(&shared_bins[key >> 24u], 1u);
            {%- else %}
            if (key >> {{ shift + 8 }}u) == (prefix >> {{ shift + 8 }}u) {
                atomicAdd(&shared_bins[(key >> {{ shift }}u) & 0xffu], 1u);
            }
            {%- endif %}
        }
    }
    workgroupBarrier();
    if local == 0u {
        var left = shared_left;
        var bin = 0u;
        for (; bin < 255u; bin += 1u) {
            let here = atomicLoad(&shared_bins[bin]);
            if here >= left {
                break;
            }
            left -= here;
        }
        shared_left = left;
        shared_prefix |= bin << {{ shift }}u;
    }
    workgroupBarrier();
    {%- endfor %}
