//! What is no plain low-rank update, and the way to one.

use serde_json::Value;

use super::config::Fields;
use super::folder::malformed;
use crate::error::{Error, Result};

/// Fields that change the maths once they are set, and why they cannot be followed.
const FIELDS: [(&str, &str); 14] = [
    ("use_dora", "DoRA rescales outputs by norms of base weights; merge it with PEFT's merge_and_unload"),
    ("lora_bias", "biases are no low-rank update; train with lora_bias=False"),
    ("modules_to_save", "full weights are no low-rank update; put them into the base model"),
    ("use_qalora", "QALoRA pools its inputs; merge it with PEFT"),
    (
        "alora_invocation_tokens",
        "aLoRA starts in mid-sequence; unset it here and route rows after that point",
    ),
    ("layer_replication", "the layers belong to an enlarged base model"),
    ("use_bdlora", "BD-LoRA's factors are block-diagonal; merge it with PEFT"),
    ("arrow_config", "Arrow chooses between adapters for each token"),
    ("kasa_config", "KaSA truncates the base weights; merge it with PEFT"),
    ("monteclora_config", "MonteCLoRA samples its weights"),
    ("trainable_token_indices", "full embedding rows are no low-rank update"),
    ("megatron_config", "Megatron shards its factors; save them gathered"),
    ("target_parameters", "factors of fused parameters are no modules; use target_modules"),
    ("ensure_weight_tying", "tied modules share their update; untie them"),
];

/// Initialisations that leave the base weights as they are.
const HARMLESS_INITS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

/// Initialisations that move part of the base weights into the adapter, by their first letters.
const BASE_CHANGING_INITS: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// Kinds of adapters that PEFT's `save_as_lora` converts.
const CONVERTIBLE: [&str; 13] = [
    "C3A",
    "DELORA",
    "FOURIERFT",
    "GRALORA",
    "LOHA",
    "LOKR",
    "MISS",
    "PSOFT",
    "RANDLORA",
    "TINYLORA",
    "UNILORA",
    "VBLORA",
    "WAVEFT",
];

/// The error for a `peft_type` that is not read.
pub(super) fn method(fields: &Fields, name: &str) -> Error {
    let reason = match name {
        "XLORA" => "X-LoRA mixes adapters by a learned gate",
        name if CONVERTIBLE.contains(&name) => "convert others with PEFT's save_as_lora",
        _ => "others have no exact low-rank form here; merge them into the base model",
    };
    malformed(&fields.path, format!("peft_type LORA or VERA: {reason}"), format!("peft_type {name:?}"))
}

/// Refuses fields that change the maths.
pub(super) fn fields(fields: &mut Fields) -> Result<()> {
    for (field, reason) in FIELDS {
        let Some(value) = fields.take::<Value>(field, "a JSON value")? else { continue };
        if is_set(&value) {
            let got = format!("{field} {value}");
            return Err(malformed(&fields.path, format!("{field} unset: {reason}"), got));
        }
    }
    let bias: Option<String> = fields.take("bias", "none, all or lora_only")?;
    match bias.as_deref() {
        None | Some("none") => Ok(()),
        Some(bias) => {
            let expected = "bias \"none\": trained biases are no low-rank update; add them to the base model";
            Err(malformed(&fields.path, expected, format!("bias {bias:?}")))
        }
    }
}

/// Refuses initialisations after which the adapter belongs to changed base weights.
pub(super) fn initialisation(fields: &mut Fields) -> Result<()> {
    let init: Option<Value> = fields.take("init_lora_weights", "true, false or a name")?;
    let name = match &init {
        None | Some(Value::Bool(_)) => return Ok(()),
        Some(Value::String(name)) => name.to_ascii_lowercase(),
        Some(other) => {
            let expected = "init_lora_weights: true, false or a name";
            return Err(malformed(&fields.path, expected, other.to_string()));
        }
    };
    if HARMLESS_INITS.contains(&name.as_str()) {
        return Ok(());
    }
    let expected = if BASE_CHANGING_INITS.iter().any(|start| name.starts_with(start)) {
        "unchanged base weights: PEFT's save_pretrained with path_initial_model_for_weight_conversion gives a LoRA"
    } else {
        "init_lora_weights true, false, gaussian, eva, orthogonal or mica: others may change the base weights"
    };
    Err(malformed(&fields.path, expected, format!("init_lora_weights {name:?}")))
}

/// Whether a field says something: null, false and empty values do not.
pub(super) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// Why a tensor that is no factor cannot be used.
pub(super) fn tensor(name: &str) -> &'static str {
    const ENDINGS: [(&str, &str); 7] = [
        ("lora_magnitude_vector", "low-rank factors: DoRA's magnitudes rescale outputs; merge it with PEFT"),
        ("lora_B.bias", "no biases of B: train with lora_bias=False"),
        ("lora_diag", "low-rank factors: KaSA truncates the base weights; merge it with PEFT"),
        ("lora_E", "low-rank factors: convert AdaLoRA by merging it with PEFT"),
        (".bias", "bias \"none\": trained biases are no low-rank update"),
        ("vera_lambda_d", "peft_type VERA for VeRA's tensors"),
        ("vera_lambda_b", "peft_type VERA for VeRA's tensors"),
    ];
    let found =
        ENDINGS.iter().find(|(ending, _)| name.ends_with(ending) || name.contains(&format!("{ending}.")));
    found
        .map_or("lora_A.weight, lora_B.weight, lora_embedding_A or lora_embedding_B: not full weights", |e| {
            e.1
        })
}
