//! LoRA's tensors: pairs of factors, by module.

use std::collections::BTreeMap;

use super::adapter::{Assembled, ModuleKind, PREFIX, PeftModule, TENSOR_FILE};
use super::config::{CONFIG_FILE, Config, Scaling};
use super::folder::malformed;
use super::patterns::Search;
use super::refuse;
use super::tensors::{Tensor, Tensors};
use crate::error::Result;
use crate::lora::factors::{Factors, Sizes};

/// Endings of names, whether the tensor is A, and what it updates.
const ENDINGS: [(&str, bool, ModuleKind); 4] = [
    (".lora_A.weight", true, ModuleKind::Linear),
    (".lora_B.weight", false, ModuleKind::Linear),
    (".lora_embedding_A", true, ModuleKind::Embedding),
    (".lora_embedding_B", false, ModuleKind::Embedding),
];

/// Ending of the base's own weights, which PEFT saves beside adapted embeddings.
const BASE_WEIGHT: &str = ".base_layer.weight";

/// The two factors of a module, as far as they were found.
struct Pair<'a> {
    kind: ModuleKind,
    a: Option<Tensor<'a>>,
    b: Option<Tensor<'a>>,
}

/// The adapter of `tensors`, none of which may be left over.
pub(super) fn assemble(config: &Config, scaling: &Scaling, tensors: &mut Tensors<'_>) -> Result<Assembled> {
    let path = tensors.path;
    let mut pairs: BTreeMap<String, Pair<'_>> = BTreeMap::new();
    let mut base_weights = Vec::new();
    while let Some(tensor) = tensors.take_any() {
        let Some(rest) = tensor.name.strip_prefix(PREFIX) else {
            return Err(malformed(path, format!("names that start with {PREFIX}"), tensor.name));
        };
        if let Some(module) = rest.strip_suffix(BASE_WEIGHT) {
            base_weights.push((module.to_owned(), tensor));
            continue;
        }
        let found =
            ENDINGS.iter().find_map(|(ending, is_a, kind)| Some((rest.strip_suffix(ending)?, is_a, kind)));
        let Some((module, &is_a, &kind)) = found else {
            return Err(malformed(path, refuse::tensor(&tensor.name), tensor.name));
        };
        if module.split('.').any(|part| part == "base_layer") {
            return Err(malformed(path, "no factors of fused parameters: use target_modules", tensor.name));
        }
        let pair = pairs.entry(module.to_owned()).or_insert(Pair { kind, a: None, b: None });
        if pair.kind != kind {
            return Err(malformed(path, "a linear map or an embedding, not both", tensor.name));
        }
        *(if is_a { &mut pair.a } else { &mut pair.b }) = Some(tensor);
    }
    let mut assembled = Assembled::default();
    let search = Search::new(&config.path);
    for (name, pair) in pairs {
        let (module, factors) = pair.factors(config, scaling, &name, &search)?;
        assembled.modules.push(module);
        assembled.adapter.modules.insert(name, factors);
    }
    for (module, tensor) in base_weights {
        check_base_weight(&assembled, &module, &tensor)?;
        assembled.base_weights.push(tensor.name);
    }
    if !assembled.base_weights.is_empty() {
        let count = assembled.base_weights.len();
        tracing::warn!(path = %path.display(), count, "base weights saved beside an adapter are not read");
    }
    Ok(assembled)
}

impl Pair<'_> {
    fn factors(
        self,
        config: &Config,
        scaling: &Scaling,
        name: &str,
        search: &Search<'_>,
    ) -> Result<(PeftModule, Factors)> {
        let (a, b) = match (self.a, self.b) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => {
                let only = a.or(b).map(|tensor| tensor.name).unwrap_or_default();
                let expected = format!("A and B of {name}");
                return Err(malformed(
                    &config.path.with_file_name(TENSOR_FILE),
                    expected,
                    format!("{only} alone"),
                ));
            }
        };
        let ([rank, inputs], [outputs, b_rank]) = (a.sizes()?, b.sizes()?);
        let (expected_rank, alpha) = config.rank_and_alpha(scaling, name, search)?;
        if rank != expected_rank {
            let expected = format!("{expected_rank} rows, the rank in {CONFIG_FILE}");
            return Err(a.wrong(expected, format!("{:?}", a.shape())));
        }
        if b_rank != rank {
            return Err(b.wrong(format!("{rank} columns, the rows of A"), format!("{:?}", b.shape())));
        }
        let scale = scaling.scale(rank, alpha);
        let wrong_module = |error: crate::error::Error| a.wrong("factors that can be applied", error);
        let sizes = Sizes { rank, inputs, outputs };
        let factors = Factors::from_values(sizes, a.values()?, b.values()?, scale).map_err(wrong_module)?;
        let precisions = factors.precisions();
        let kind = self.kind;
        let alpha = Some(alpha);
        Ok((PeftModule { name: name.into(), kind, inputs, outputs, rank, alpha, scale, precisions }, factors))
    }
}

/// A base weight belongs to a module that is adapted, and has its shape.
fn check_base_weight(assembled: &Assembled, module: &str, tensor: &Tensor<'_>) -> Result<()> {
    // Modules are in the order of their names.
    let found = assembled.modules.binary_search_by(|adapted| adapted.name.as_str().cmp(module));
    let Some(adapted) = found.ok().map(|place| &assembled.modules[place]) else {
        return Err(tensor.wrong("base weights of adapted modules only", "a module without factors"));
    };
    let expected = match adapted.kind {
        ModuleKind::Embedding => [adapted.inputs, adapted.outputs],
        ModuleKind::Linear | ModuleKind::Vera => [adapted.outputs, adapted.inputs],
    };
    if tensor.shape() != expected {
        return Err(
            tensor.wrong(format!("shape {expected:?}, that of the factors"), format!("{:?}", tensor.shape()))
        );
    }
    Ok(())
}
