//! `adapter_config.json`, field by field, so that an error names the field.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::folder::{malformed, read_text};
use super::patterns::{Patterns, Search};
use super::refuse;
use super::selection::Selection;
use crate::data::json::InOrder;
use crate::error::Result;
use crate::lora::factors::MAX_RANK;

/// The configuration's file.
pub(super) const CONFIG_FILE: &str = "adapter_config.json";

/// PEFT's ranks and alpha where the file names none.
const DEFAULT_LORA: (usize, f64) = (8, 8.0);
const DEFAULT_VERA_RANK: usize = 256;

/// Fields that say nothing about the maths of applying the adapter.
const WITHOUT_EFFECT: [&str; 18] = [
    "auto_mapping",
    "corda_config",
    "d_initial",
    "eva_config",
    "inference_mode",
    "init_weights",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "projection_prng_key",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "velora_config",
    "vera_dropout",
];

/// What is known of an adapter before its tensors are read.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) path: PathBuf,
    pub(super) base_model: Option<String>,
    pub(super) rank: usize,
    pub(super) selection: Selection,
    pub(super) method: Method,
}

/// How the tensors make an update.
#[derive(Debug)]
pub(super) enum Method {
    Lora(Box<Scaling>),
    Vera { saves_projection: bool },
}

/// The scale of each module.
#[derive(Debug)]
pub(super) struct Scaling {
    pub(super) alpha: f64,
    pub(super) use_rslora: bool,
    ranks: Patterns<usize>,
    alphas: Patterns<f64>,
}

impl Config {
    /// Reads and checks the file in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut fields = Fields::read(folder.join(CONFIG_FILE))?;
        let Some(peft_type) = fields.take::<String>("peft_type", "a text")? else {
            return Err(malformed(&fields.path, "peft_type", "no such field"));
        };
        let is_lora = match peft_type.as_str() {
            "LORA" => true,
            "VERA" => false,
            other => return Err(refuse::method(&fields, other)),
        };
        refuse::fields(&mut fields)?;
        let base_model = fields.take("base_model_name_or_path", "a text")?;
        let selection = Selection::read(&mut fields)?;
        // Says how the base stores its weight; A and B are stored alike in both cases.
        let _: Option<bool> = fields.take("fan_in_fan_out", "true or false")?;
        let rank = fields.take("r", "a whole number")?;
        let rank = rank.unwrap_or(if is_lora { DEFAULT_LORA.0 } else { DEFAULT_VERA_RANK });
        check_rank("r", rank, &fields.path)?;
        let method =
            if is_lora { Method::Lora(Box::new(Scaling::read(&mut fields)?)) } else { vera(&mut fields)? };
        fields.warn_of_the_rest();
        Ok(Self { path: fields.path, base_model, rank, selection, method })
    }

    /// Rank and alpha of `module`.
    pub(super) fn rank_and_alpha(
        &self,
        scaling: &Scaling,
        module: &str,
        search: &Search<'_>,
    ) -> Result<(usize, f64)> {
        let rank = scaling.ranks.first(module, search)?.unwrap_or(self.rank);
        let alpha = scaling.alphas.first(module, search)?.unwrap_or(scaling.alpha);
        Ok((rank, alpha))
    }
}

impl Scaling {
    fn read(fields: &mut Fields) -> Result<Self> {
        refuse::initialisation(fields)?;
        let alpha = fields.take("lora_alpha", "a number")?.unwrap_or(DEFAULT_LORA.1);
        let use_rslora = fields.take("use_rslora", "true or false")?.unwrap_or(false);
        let ranks: Option<InOrder<usize>> = fields.take("rank_pattern", "an object of whole numbers")?;
        let ranks = ranks.unwrap_or_default();
        for (_, rank) in &ranks.0 {
            check_rank("rank_pattern", *rank, &fields.path)?;
        }
        let alphas: Option<InOrder<f64>> = fields.take("alpha_pattern", "an object of numbers")?;
        let ranks = Patterns::new(ranks, "rank_pattern", &fields.path)?;
        let alphas = Patterns::new(alphas.unwrap_or_default(), "alpha_pattern", &fields.path)?;
        Ok(Self { alpha, use_rslora, ranks, alphas })
    }

    /// `alpha / rank`; rank-stabilised LoRA `alpha / sqrt(rank)` (Kalajdzievski, 2023).
    pub(super) fn scale(&self, rank: usize, alpha: f64) -> f32 {
        let rank = rank as f64;
        (alpha / if self.use_rslora { rank.sqrt() } else { rank }) as f32
    }
}

fn vera(fields: &mut Fields) -> Result<Method> {
    let saves_projection = fields.take("save_projection", "true or false")?.unwrap_or(true);
    Ok(Method::Vera { saves_projection })
}

fn check_rank(field: &str, rank: usize, path: &Path) -> Result<()> {
    if !(1..=MAX_RANK).contains(&rank) {
        return Err(malformed(path, format!("{field}: ranks of 1 to {MAX_RANK}"), rank.to_string()));
    }
    Ok(())
}

/// The fields of a JSON object that were not looked at yet.
pub(super) struct Fields {
    pub(super) path: PathBuf,
    rest: BTreeMap<String, Box<RawValue>>,
}

impl Fields {
    fn read(path: PathBuf) -> Result<Self> {
        let text = read_text(&path)?;
        let parsed = serde_json::from_str(&text);
        let all: InOrder<Box<RawValue>> =
            parsed.map_err(|error| malformed(&path, "a JSON object", error.to_string()))?;
        Ok(Self { path, rest: all.0.into_iter().collect() })
    }

    /// The field's value; none where it is missing or null.
    pub(super) fn take<T: DeserializeOwned>(&mut self, field: &str, expected: &str) -> Result<Option<T>> {
        let Some(value) = self.rest.remove(field) else { return Ok(None) };
        let parsed = serde_json::from_str(value.get());
        parsed.map_err(|error| {
            // What is wrong about the text is seen in it, but for a key that may be far from its twin.
            let message = error.to_string();
            let got = if message.starts_with("the key ") { &message } else { value.get() };
            malformed(&self.path, format!("{field}: {expected}"), got)
        })
    }

    fn warn_of_the_rest(&self) {
        for (field, value) in &self.rest {
            let value: Value = serde_json::from_str(value.get()).unwrap_or(Value::Null);
            if !WITHOUT_EFFECT.contains(&field.as_str()) && refuse::is_set(&value) {
                tracing::warn!(path = %self.path.display(), field, "unknown field of an adapter is ignored");
            }
        }
    }
}
