//! WGSL from the templates under `shaders/`: strict, so that a name the caller forgot is an error and not a blank.

use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior, Value};

use crate::error::{Error, Result};

/// Every template by its path under `shaders/`.
const TEMPLATES: &[(&str, &str)] = &[
    ("common/wide.wgsl", include_str!("../../../shaders/common/wide.wgsl")),
    ("common/wide_atomic.wgsl", include_str!("../../../shaders/common/wide_atomic.wgsl")),
    ("distance/accumulate.wgsl", include_str!("../../../shaders/distance/accumulate.wgsl")),
    ("distance/functions.wgsl", include_str!("../../../shaders/distance/functions.wgsl")),
    ("distance/haversine.wgsl", include_str!("../../../shaders/distance/haversine.wgsl")),
    ("distance/measure.wgsl", include_str!("../../../shaders/distance/measure.wgsl")),
    ("distance/steps.wgsl", include_str!("../../../shaders/distance/steps.wgsl")),
    ("kmeans/count.wgsl", include_str!("../../../shaders/kmeans/count.wgsl")),
    ("kmeans/decided.wgsl", include_str!("../../../shaders/kmeans/decided.wgsl")),
    ("kmeans/doubt.wgsl", include_str!("../../../shaders/kmeans/doubt.wgsl")),
    ("kmeans/gauge.wgsl", include_str!("../../../shaders/kmeans/gauge.wgsl")),
    ("kmeans/scan.wgsl", include_str!("../../../shaders/kmeans/scan.wgsl")),
    ("kmeans/scatter.wgsl", include_str!("../../../shaders/kmeans/scatter.wgsl")),
    ("kmeans/shift.wgsl", include_str!("../../../shaders/kmeans/shift.wgsl")),
    ("kmeans/sum.wgsl", include_str!("../../../shaders/kmeans/sum.wgsl")),
    ("kmeans/term.wgsl", include_str!("../../../shaders/kmeans/term.wgsl")),
    ("kmeans/transfer.wgsl", include_str!("../../../shaders/kmeans/transfer.wgsl")),
    ("kmedoids/bring.wgsl", include_str!("../../../shaders/kmedoids/bring.wgsl")),
    ("kmedoids/choose.wgsl", include_str!("../../../shaders/kmedoids/choose.wgsl")),
    ("kmedoids/control.wgsl", include_str!("../../../shaders/kmedoids/control.wgsl")),
    ("kmedoids/exchange.wgsl", include_str!("../../../shaders/kmedoids/exchange.wgsl")),
    ("kmedoids/gain.wgsl", include_str!("../../../shaders/kmedoids/gain.wgsl")),
    ("kmedoids/least.wgsl", include_str!("../../../shaders/kmedoids/least.wgsl")),
    ("kmedoids/numbers.wgsl", include_str!("../../../shaders/kmedoids/numbers.wgsl")),
    ("lora/expand.wgsl", include_str!("../../../shaders/lora/expand.wgsl")),
    ("lora/expand_head.wgsl", include_str!("../../../shaders/lora/expand_head.wgsl")),
    ("lora/expand_tile.wgsl", include_str!("../../../shaders/lora/expand_tile.wgsl")),
    ("lora/inputs.wgsl", include_str!("../../../shaders/lora/inputs.wgsl")),
    ("lora/operands.wgsl", include_str!("../../../shaders/lora/operands.wgsl")),
    ("lora/outputs.wgsl", include_str!("../../../shaders/lora/outputs.wgsl")),
    ("lora/shrink.wgsl", include_str!("../../../shaders/lora/shrink.wgsl")),
    ("lora/shrink_head.wgsl", include_str!("../../../shaders/lora/shrink_head.wgsl")),
    ("lora/shrink_tile.wgsl", include_str!("../../../shaders/lora/shrink_tile.wgsl")),
    ("lora/stage_expand.wgsl", include_str!("../../../shaders/lora/stage_expand.wgsl")),
    ("lora/stage_shrink.wgsl", include_str!("../../../shaders/lora/stage_shrink.wgsl")),
    ("measure/copy.wgsl", include_str!("../../../shaders/measure/copy.wgsl")),
    ("measure/multiply.wgsl", include_str!("../../../shaders/measure/multiply.wgsl")),
    ("measure/write.wgsl", include_str!("../../../shaders/measure/write.wgsl")),
    ("tile/nearest/approach.wgsl", include_str!("../../../shaders/tile/nearest/approach.wgsl")),
    ("tile/nearest/candidates.wgsl", include_str!("../../../shaders/tile/nearest/candidates.wgsl")),
    ("tile/nearest/certificate.wgsl", include_str!("../../../shaders/tile/nearest/certificate.wgsl")),
    ("tile/nearest/certify.wgsl", include_str!("../../../shaders/tile/nearest/certify.wgsl")),
    ("tile/collect/collect.wgsl", include_str!("../../../shaders/tile/collect/collect.wgsl")),
    ("tile/collect/deliver.wgsl", include_str!("../../../shaders/tile/collect/deliver.wgsl")),
    ("tile/product/fetch.wgsl", include_str!("../../../shaders/tile/product/fetch.wgsl")),
    ("tile/collect/keep.wgsl", include_str!("../../../shaders/tile/collect/keep.wgsl")),
    ("tile/nearest/lengths.wgsl", include_str!("../../../shaders/tile/nearest/lengths.wgsl")),
    ("tile/within/limits.wgsl", include_str!("../../../shaders/tile/within/limits.wgsl")),
    ("tile/product/load.wgsl", include_str!("../../../shaders/tile/product/load.wgsl")),
    (
        "tile/product/units/matrix_add.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_add.wgsl"),
    ),
    (
        "tile/product/units/matrix_bindings.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_bindings.wgsl"),
    ),
    (
        "tile/product/units/matrix_collect.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_collect.wgsl"),
    ),
    (
        "tile/product/units/matrix_double.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_double.wgsl"),
    ),
    (
        "tile/product/units/matrix_held.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_held.wgsl"),
    ),
    (
        "tile/product/units/matrix_keep.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_keep.wgsl"),
    ),
    (
        "tile/product/units/matrix_merge.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_merge.wgsl"),
    ),
    (
        "tile/product/units/matrix_nearest.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_nearest.wgsl"),
    ),
    (
        "tile/product/units/matrix_places.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_places.wgsl"),
    ),
    (
        "tile/product/units/matrix_shared.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_shared.wgsl"),
    ),
    (
        "tile/product/units/matrix_streamed.wgsl",
        include_str!("../../../shaders/tile/product/units/matrix_streamed.wgsl"),
    ),
    ("tile/nearest/merged.wgsl", include_str!("../../../shaders/tile/nearest/merged.wgsl")),
    ("tile/operands/narrow.wgsl", include_str!("../../../shaders/tile/operands/narrow.wgsl")),
    ("tile/nearest/nearest.wgsl", include_str!("../../../shaders/tile/nearest/nearest.wgsl")),
    ("tile/product/order.wgsl", include_str!("../../../shaders/tile/product/order.wgsl")),
    ("tile/within/pairs.wgsl", include_str!("../../../shaders/tile/within/pairs.wgsl")),
    ("tile/product/product.wgsl", include_str!("../../../shaders/tile/product/product.wgsl")),
    ("tile/product/put.wgsl", include_str!("../../../shaders/tile/product/put.wgsl")),
    ("tile/nearest/reach.wgsl", include_str!("../../../shaders/tile/nearest/reach.wgsl")),
    ("tile/within/sift.wgsl", include_str!("../../../shaders/tile/within/sift.wgsl")),
    ("tile/product/stage.wgsl", include_str!("../../../shaders/tile/product/stage.wgsl")),
    ("tile/collect/select.wgsl", include_str!("../../../shaders/tile/collect/select.wgsl")),
    ("tile/collect/select_keys.wgsl", include_str!("../../../shaders/tile/collect/select_keys.wgsl")),
    ("tile/nearest/shortlist.wgsl", include_str!("../../../shaders/tile/nearest/shortlist.wgsl")),
    ("tile/store/store.wgsl", include_str!("../../../shaders/tile/store/store.wgsl")),
    ("tile/nearest/relabel.wgsl", include_str!("../../../shaders/tile/nearest/relabel.wgsl")),
    ("tile/collect/tighten.wgsl", include_str!("../../../shaders/tile/collect/tighten.wgsl")),
    ("tile/within/within.wgsl", include_str!("../../../shaders/tile/within/within.wgsl")),
];

/// All templates, parsed once per process.
static ENVIRONMENT: LazyLock<std::result::Result<Environment<'static>, minijinja::Error>> =
    LazyLock::new(|| {
        // Of what templates can call they call `range`; filters and tests that nobody names stay out of the program.
        let mut environment = Environment::empty();
        environment.add_function("range", minijinja::functions::range);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, text) in TEMPLATES {
            environment.add_template(name, text)?;
        }
        Ok(environment)
    });

/// A checksum of the templates whose names begin with `prefix`: what was measured of kernels holds for these texts.
pub(crate) fn checksum(prefix: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for (name, text) in TEMPLATES.iter().filter(|(name, _)| name.starts_with(prefix)) {
        hasher.update(name.as_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize()
}

/// The text of one template with the values of `context`.
pub(crate) fn render(name: &'static str, context: Value) -> Result<String> {
    let failed =
        |error: &minijinja::Error| Error::ShaderTemplate { template: name, reason: error.to_string() };
    let environment = ENVIRONMENT.as_ref().map_err(failed)?;
    environment
        .get_template(name)
        .and_then(|template| template.render(context))
        .map_err(|error| failed(&error))
}
