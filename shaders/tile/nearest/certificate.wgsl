{#- What a certificate under the bound of a tier reads: its parameters and the results of the tile. -#}
{% if halves -%}
struct MatrixCertifyParams {
    rows: u32,
    splits: u32,
    stride: u32,
    first_row: u32,
    ratio: f32,
    square: f32,
}
{%- else -%}
struct CertifyParams {
    rows: u32,
    splits: u32,
    stride: u32,
    first_row: u32,
    slope: f32,
    constant: f32,
    square: f32,
}
{%- endif %}

struct Partial {
    best: f32,
    second: f32,
    column: u32,
}
