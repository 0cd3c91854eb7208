{#- What a certificate under the bound of a tier reads: its parameters and the results of the tile. Products in f32 have no
    ratio, those of f16 neither slope nor constant. -#}
struct CertifyParams {
    rows: u32,
    splits: u32,
    stride: u32,
    first_row: u32,
    slope: f32,
    constant: f32,
    square: f32,
    ratio: f32,
}

{% include "tile/nearest/partial.wgsl" %}
