{#- One step of the panels of product.wgsl, from what load.wgsl reads.
    Expects  `row_tile`, `column_tile` (first row and column of the tile), and `pieces`, as fetch.wgsl does. -#}
        {
        {%- include "tile/product/fetch.wgsl" %}
        {%- include "tile/product/put.wgsl" %}
        }
