{#- Adds 64-bit numbers to pairs of atomic words with two 32-bit additions: whoever makes the low word wrap carries into the
    high word. Exact, in any order.
    Expects  `target`: pairs of atomic words, low before high. -#}
{% macro adder(name, target) -%}
/// Adds a 64-bit number to pair `at` of `{{ target }}`.
fn {{ name }}(at: u32, sum: vec2<u32>) {
    var high = sum.y;
    if sum.x != 0u {
        let before = atomicAdd(&{{ target }}[2u * at], sum.x);
        high += select(0u, 1u, before + sum.x < before);
    }
    if high != 0u {
        atomicAdd(&{{ target }}[2u * at + 1u], high);
    }
}
{%- endmacro %}
