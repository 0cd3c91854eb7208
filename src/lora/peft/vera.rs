//! VeRA's tensors: two shared matrices and two vectors for each module, folded into plain factors.
//!
//! ```text
//! lambda_b * (B[:outputs, :] (lambda_d * (A[:, :inputs] x)))  =  (diag(lambda_b) B) (diag(lambda_d) A) x
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::adapter::{Assembled, ModuleKind, PREFIX, PeftModule};
use super::config::{CONFIG_FILE, Config};
use super::folder::malformed;
use super::refuse;
use super::tensors::{Tensor, Tensors};
use crate::error::{Error, Result};
use crate::lora::factors::{Factors, Sizes};
use crate::lora::values::Values;
use crate::memory;

/// The shared matrices: A `[rank, widest inputs]`, B `[widest outputs, rank]`.
pub(super) const SHARED_A: &str = "base_model.vera_A";
const SHARED_B: &str = "base_model.vera_B";

/// Endings of the vectors of a module.
pub(super) const LAMBDA_B: &str = "vera_lambda_b";
const LAMBDA_D: &str = "vera_lambda_d";

/// Most that folding may take. Each module gets its own copy of the shared matrices, so that a small file could ask
/// for any amount; a 70B model with all its linear maps at rank 256 takes 14 GiB.
const MAX_FOLDED_BYTES: u64 = 16 << 30;

/// A shared matrix.
struct Shared {
    values: Values,
    columns: usize,
}

/// The adapter of `tensors`, none of which may be left over. `inputs` are the inputs of modules, where known.
pub(super) fn assemble(
    config: &Config,
    saves_projection: bool,
    inputs: &BTreeMap<&str, usize>,
    tensors: &mut Tensors<'_>,
) -> Result<Assembled> {
    let path = tensors.path;
    let (a, b) = (tensors.take(SHARED_A), tensors.take(SHARED_B));
    if !saves_projection && (a.is_none() || b.is_none()) {
        let expected = "base_model.vera_A and vera_B: save the adapter with save_projection=True";
        return Err(malformed(path, expected, "neither (they would have to be drawn as PyTorch does)"));
    }
    let missing = |name: &str| malformed(path, format!("tensor {name}"), "no such tensor");
    let (a, b) = (a.ok_or_else(|| missing(SHARED_A))?, b.ok_or_else(|| missing(SHARED_B))?);
    let ([a_rank, widest_inputs], [widest_outputs, b_rank]) = (a.sizes()?, b.sizes()?);
    let rank = config.rank;
    if a_rank != rank {
        return Err(a.wrong(format!("{rank} rows, r of {CONFIG_FILE}"), format!("{:?}", a.shape())));
    }
    if b_rank != rank {
        return Err(b.wrong(format!("{rank} columns, r of {CONFIG_FILE}"), format!("{:?}", b.shape())));
    }
    let a = Shared { values: a.values()?, columns: widest_inputs };
    let b = Shared { values: b.values()?, columns: rank };

    let mut assembled = Assembled::default();
    let mut folded_bytes = 0_u64;
    for name in module_names(tensors)? {
        let lambda_d = tensors.require(&format!("{PREFIX}{name}.{LAMBDA_D}"))?;
        let lambda_b = tensors.require(&format!("{PREFIX}{name}.{LAMBDA_B}"))?;
        let ([lambda_rank], [outputs]) = (lambda_d.sizes()?, lambda_b.sizes()?);
        if lambda_rank != rank {
            return Err(lambda_d.wrong(format!("{rank} values, the rank"), lambda_rank));
        }
        if outputs > widest_outputs {
            return Err(
                lambda_b.wrong(format!("at most {widest_outputs} values, the rows of vera_B"), outputs)
            );
        }
        let inputs = inputs.get(name.as_str()).copied().unwrap_or(widest_inputs);
        if inputs > widest_inputs {
            let expected = format!("{SHARED_A} of at least {inputs} columns, the inputs of {name}");
            return Err(malformed(path, expected, format!("{widest_inputs} columns")));
        }
        folded_bytes += (rank * (inputs + outputs) * size_of::<f32>()) as u64;
        check_folded(folded_bytes, path)?;
        let sizes = Sizes { rank, inputs, outputs };
        let factors = fold(sizes, &a, &b, &lambda_d, &lambda_b)?;
        assembled.modules.push(PeftModule {
            name: name.clone(),
            kind: ModuleKind::Vera,
            inputs,
            outputs,
            rank,
            alpha: None,
            scale: 1.0,
            precisions: factors.precisions(),
        });
        assembled.adapter.modules.insert(name, factors);
    }
    Ok(assembled)
}

/// The modules of the tensors that are left; each of these has to be one of the two vectors.
fn module_names(tensors: &Tensors<'_>) -> Result<BTreeSet<String>> {
    let module = |name: &String| {
        let rest = name.strip_prefix(PREFIX)?;
        let vector = |ending: &str| Some(rest.strip_suffix(ending)?.strip_suffix('.')?.to_owned());
        vector(LAMBDA_B).or_else(|| vector(LAMBDA_D))
    };
    let found = |name: &String| {
        module(name).ok_or_else(|| {
            let expected = match name.strip_prefix(PREFIX) {
                None => format!("names that start with {PREFIX}"),
                Some(rest) if rest.ends_with(".bias") => refuse::tensor(name).to_owned(),
                Some(_) => format!("{LAMBDA_B} or {LAMBDA_D}: not full weights"),
            };
            malformed(tensors.path, expected, name)
        })
    };
    tensors.names().map(found).collect()
}

fn check_folded(needed_bytes: u64, path: &std::path::Path) -> Result<()> {
    if needed_bytes <= MAX_FOLDED_BYTES {
        return Ok(());
    }
    let what = format!("factors unfolded from {}", path.display());
    Err(Error::TooLarge { what, needed_bytes, limit_bytes: MAX_FOLDED_BYTES })
}

fn fold(
    sizes: Sizes,
    a: &Shared,
    b: &Shared,
    lambda_d: &Tensor<'_>,
    lambda_b: &Tensor<'_>,
) -> Result<Factors> {
    let Sizes { rank, inputs, outputs } = sizes;
    let (d_values, b_values) = (lambda_d.values()?, lambda_b.values()?);
    let scaled = |shared: &Shared, row: usize, column: usize, factor: &Values| {
        factor.get(row) * shared.values.get(row * shared.columns + column)
    };
    let mut folded_a = memory::room("A unfolded", rank * inputs)?;
    for i in 0..rank {
        folded_a.extend((0..inputs).map(|column| scaled(a, i, column, &d_values)));
    }
    let mut folded_b = memory::room("B unfolded", outputs * rank)?;
    for j in 0..outputs {
        folded_b.extend((0..rank).map(|column| scaled(b, j, column, &b_values)));
    }
    let factors = Factors::from_values(sizes, Values::F32(folded_a), Values::F32(folded_b), 1.0);
    factors.map_err(|error| lambda_d.wrong("factors that can be applied", error))
}
