{#- Expects  `params.margin`. -#}
/// Whether a row's bounds, upper and lower, decide its label. Lower bounds below 1e-30 decide nothing.
fn is_decided(bounds: vec2<f32>) -> bool {
    return bounds.x * params.margin < bounds.y && bounds.y > 1e-30;
}
