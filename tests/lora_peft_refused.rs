//! Adapters that cannot be applied, files that lie or end early: a typed, short error that names the field or tensor.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use half::f16;
use proptest::prelude::*;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use tilefold::lora::{read_adapter, read_shards};
use tilefold::{Error, Result};

use crate::lora_peft::{
    PREFIX, Tensor, f32s, lora, numbered, pair, read, saved, saved_shards, serialized, shard_table,
    shard_tensors, u32s, vera, vera_tensors, with,
};
use crate::readers::Folder;
use crate::support::random;

const LONGEST_MESSAGE: usize = 300;

/// The message of a refusal; it names all `parts`, and is short.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) -> String {
    let error = result.unwrap_err();
    let Error::Format { path, .. } = &error else { panic!("{error:?}") };
    let message = error.to_string().replace(&path.display().to_string(), "FILE");
    assert!(message.chars().count() <= LONGEST_MESSAGE, "{} characters: {message}", message.chars().count());
    assert!(!message.contains(char::is_control), "{message:?}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    // The two texts are cut where they are too long; a reason that is cut says nothing.
    let reason = message.split(", got ").next().unwrap();
    assert!(!reason.ends_with("..."), "{message}");
    message
}

#[track_caller]
fn refused(config: &Value, tensors: &[Tensor], parts: &[&str]) -> String {
    refusal(read(&saved(config, tensors)), parts)
}

#[test]
fn variants_with_other_maths_are_refused() {
    let tensors = pair("q", 2, 2, 2);
    assert!(read(&saved(&lora(2), &tensors)).is_ok());
    for (field, value, way_out) in [
        ("use_dora", json!(true), "merge_and_unload"),
        ("bias", json!("all"), "base model"),
        ("bias", json!("lora_only"), "base model"),
        ("lora_bias", json!(true), "lora_bias=False"),
        ("modules_to_save", json!(["score"]), "base model"),
        ("use_qalora", json!(true), "merge"),
        ("alora_invocation_tokens", json!([1, 2]), "route"),
        ("layer_replication", json!([[0, 4], [2, 5]]), "enlarged"),
        ("use_bdlora", json!({"nblocks": 2}), "merge"),
        ("arrow_config", json!({"top_k": 3}), "each token"),
        ("kasa_config", json!({"beta": 1e-4}), "merge"),
        ("monteclora_config", json!({"num_samples": 8}), "samples"),
        ("trainable_token_indices", json!([3]), "embedding"),
        ("megatron_config", json!({"a": 1}), "gathered"),
        ("target_parameters", json!(["experts.gate_up_proj"]), "target_modules"),
        ("ensure_weight_tying", json!(true), "untie"),
        ("init_lora_weights", json!("pissa"), "path_initial_model_for_weight_conversion"),
        ("init_lora_weights", json!("pissa_niter_16"), "path_initial_model_for_weight_conversion"),
        ("init_lora_weights", json!("olora"), "path_initial_model_for_weight_conversion"),
        ("init_lora_weights", json!("corda"), "path_initial_model_for_weight_conversion"),
        ("init_lora_weights", json!("loftq"), "path_initial_model_for_weight_conversion"),
        ("init_lora_weights", json!("lora_ga"), "path_initial_model_for_weight_conversion"),
        ("init_lora_weights", json!("new_idea"), "gaussian"),
        ("peft_type", json!("LOHA"), "save_as_lora"),
        ("peft_type", json!("LOKR"), "save_as_lora"),
        ("peft_type", json!("VBLORA"), "save_as_lora"),
        ("peft_type", json!("RANDLORA"), "save_as_lora"),
        ("peft_type", json!("XLORA"), "gate"),
        ("peft_type", json!("IA3"), "merge"),
        ("peft_type", json!("NEW"), "merge"),
    ] {
        refused(&with(lora(2), field, value), &tensors, &[field, way_out]);
    }
}

#[test]
fn tensors_that_are_no_factors_are_refused() {
    for (name, reason) in [
        ("base_model.model.q.lora_magnitude_vector", "DoRA"),
        ("base_model.model.q.lora_magnitude_vector.weight", "DoRA"),
        ("base_model.model.q.lora_B.bias", "lora_bias"),
        ("base_model.model.q.bias", "bias"),
        ("base_model.model.q.lora_diag", "KaSA"),
        ("base_model.model.q.lora_E", "AdaLoRA"),
        ("base_model.model.score.weight", "full weights"),
        ("base_model.model.lm_head.base_layer.weight", "adapted modules"),
        ("base_model.model.q.lora_A.default.weight", "lora_A.weight"),
        ("base_model.model.q.lora_embedding_A", "not both"),
        ("base_model.model.experts.base_layer.lora_A.weight", "target_modules"),
        ("base_model.model.q.vera_lambda_d", "VERA"),
        ("q.lora_A.weight", "start with base_model.model."),
        ("unet.q.lora_A.weight", "start with base_model.model."),
    ] {
        let tensors = [&pair("q", 2, 2, 2)[..], &[numbered(name, &[2, 2], 1)]].concat();
        refused(&lora(2), &tensors, &[name, reason]);
    }
}

#[test]
fn factors_that_disagree_are_refused() {
    let [a, b] = pair("q", 2, 3, 4);
    let (name_a, name_b) = (a.0.clone(), b.0.clone());
    for only in [&a, &b] {
        refused(&lora(2), std::slice::from_ref(only), &["A and B of q", &only.0, "alone"]);
    }
    refused(&lora(2), &[a.clone(), numbered(&name_b, &[4, 3], 1)], &[&name_b, "2 columns", "[4, 3]"]);
    refused(&lora(3), &[a.clone(), b.clone()], &[&name_a, "3 rows", "adapter_config.json", "[2, 3]"]);
    let config = with(lora(2), "rank_pattern", json!({"q": 1}));
    refused(&config, &[a.clone(), b.clone()], &[&name_a, "1 rows"]);
    refused(&lora(2), &[numbered(&name_a, &[6], 1), b.clone()], &[&name_a, "2 dimensions", "[6]"]);
    // The factors of a convolution.
    refused(&lora(2), &[numbered(&name_a, &[2, 3, 1, 1], 1), b.clone()], &[&name_a, "[2, 3, 1, 1]"]);
    refused(&lora(2), &[f32s(&name_a, &[2, 0], []), b.clone()], &[&name_a, "[2, 0]"]);
    refused(&lora(2), &[], &["at least 1 module"]);
    let base = numbered(format!("{PREFIX}q.base_layer.weight"), &[3, 4], 1);
    refused(&lora(2), &[a, b, base], &["q.base_layer.weight", "[4, 3]", "[3, 4]"]);
}

#[test]
fn weights_that_cannot_be_used_are_refused() {
    let [a, b] = pair("q", 2, 3, 4);
    let typed = |dtype, bytes: usize| Tensor(a.0.clone(), dtype, vec![2, 3], vec![0; 6 * bytes]);
    for (dtype, bytes, name) in [
        (Dtype::F64, 8, "F64"),
        (Dtype::F8_E4M3, 1, "F8_E4M3"),
        (Dtype::F8_E5M2, 1, "F8_E5M2"),
        (Dtype::I8, 1, "I8"),
        (Dtype::U32, 4, "U32"),
        (Dtype::BOOL, 1, "BOOL"),
        (Dtype::C64, 8, "C64"),
    ] {
        refused(&lora(2), &[typed(dtype, bytes), b.clone()], &[&a.0, name, "F32, F16 or BF16"]);
    }
    for (value, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let bad = f32s(&a.0, &[2, 3], [0.0, 0.0, 0.0, 0.0, value, 0.0]);
        refused(&lora(2), &[bad, b.clone()], &[&a.0, "finite", text, "[1, 1]"]);
    }
    let halves = [f16::ZERO, f16::NAN].iter().flat_map(|value| value.to_le_bytes()).collect();
    let bad = Tensor(b.0.clone(), Dtype::F16, vec![1, 2], halves);
    refused(&lora(2), &[a.clone(), bad], &[&b.0, "NaN", "[0, 1]"]);
    // alpha / rank is beyond f32.
    refused(&with(lora(2), "lora_alpha", json!(1e300)), &[a, b], &["scale"]);
}

#[test]
fn malformed_configurations_are_refused() {
    let tensors = pair("q", 2, 2, 2);
    for (field, value) in [
        ("r", json!("2")),
        ("r", json!(2.0)),
        ("r", json!(0)),
        ("r", json!(-2)),
        ("r", json!(513)),
        ("r", json!(u64::MAX)),
        ("lora_alpha", json!("4")),
        ("use_rslora", json!("yes")),
        ("fan_in_fan_out", json!(3)),
        ("bias", json!(true)),
        ("init_lora_weights", json!(7)),
        ("peft_type", json!(1)),
        ("base_model_name_or_path", json!(1)),
        ("rank_pattern", json!(["q"])),
        ("rank_pattern", json!({"q": "2"})),
        ("rank_pattern", json!({"q": 0})),
        ("rank_pattern", json!({"q(": 2})),
        ("alpha_pattern", json!({"q": null})),
        ("alpha_pattern", json!({"(((.{999}){999}){999})": 1})),
        ("target_modules", json!(3)),
        ("target_modules", json!([["q"]])),
        ("target_modules", json!("q(")),
        ("layers_to_transform", json!("1")),
    ] {
        refused(&with(lora(2), field, value), &tensors, &[field]);
    }
    let folder = saved(&lora(2), &tensors);
    let huge = format!("{{\"peft_type\": \"LORA\", \"x\": \"{}\"}}", "y".repeat(17 << 20));
    let deep = "[".repeat(100_000);
    for text in ["", "{", "[]", "3", "null", "{\"peft_type\": NaN}", "\u{feff}{}", "{}", &deep, &huge] {
        folder.file("adapter_config.json", text);
        refusal(read(&folder), &["FILE: expected"]);
    }
    folder.file("adapter_config.json", [b'"', 0xff, b'"']);
    refusal(read(&folder), &["UTF-8"]);
}

/// Python takes the last, others the first.
#[test]
fn keys_that_come_twice_are_refused() {
    let folder = saved(&lora(2), &pair("q", 2, 2, 2));
    let rewritten = |file: &str, old: &str, new: &str| {
        let before = std::fs::read_to_string(folder.path(file)).unwrap();
        assert!(before.contains(old), "{before}");
        folder.file(file, before.replacen(old, new, 1));
        let message = refusal(read(&folder), &["twice"]);
        folder.file(file, before);
        message
    };
    let config = "adapter_config.json";
    let text = rewritten(config, "\"r\":2", "\"r\":4,\"r\":2");
    assert!(text.contains("expected a JSON object, got the key \"r\" twice"), "{text}");
    for (field, place, behind) in
        [("rank_pattern", "\"rank_pattern\":{}", ""), ("alpha_pattern", "\"r\":2", ",\"r\":2")]
    {
        let pattern = format!("\"{field}\":{{\"q\":2,\"k\":8,\"q\":2}}{behind}");
        let text = rewritten(config, place, &pattern);
        assert!(text.contains(field) && text.contains("got the key \"q\" twice"), "{text}");
    }
    assert!(read(&folder).is_ok(), "the folder is as it was");
    let name = "base_model.model.q.lora_A.weight";
    let claim = r#"{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}"#;
    folder.file(
        "adapter_model.safetensors",
        with_header(&format!(r#"{{"{name}":{claim},"{name}":{claim}}}"#), 16),
    );
    refusal(read(&folder), &["a safetensors header", "lora_A", "twice"]);
    let folder = saved_shards(&shard_table(), &shard_tensors());
    let before = std::fs::read_to_string(folder.path("shards.json")).unwrap();
    let entry = r#"{"a_index":"x","b_index":"y","scale":1.0}"#;
    for (old, new, part) in [
        ("\"modules\":{", format!("\"modules\":{{\"m\":{entry},\"m\":{entry},"), "the key \"m\" twice"),
        ("\"a_pool\":", "\"a_pool\":\"z\",\"a_pool\":".to_owned(), "duplicate field `a_pool`"),
    ] {
        assert!(before.contains(old), "{before}");
        folder.file("shards.json", before.replacen(old, &new, 1));
        refusal(read_shards(folder.path("")), &[part]);
    }
}

#[test]
fn expressions_that_take_for_ever_are_given_up() {
    let config = with(lora(2), "rank_pattern", json!({"(?:(?=a)a|(?=a)aa)+b": 2}));
    refused(&config, &pair(&"a".repeat(60), 2, 2, 2), &["rank_pattern"]);
}

#[test]
fn missing_and_foreign_files_are_refused() {
    let folder = Folder::new();
    assert!(matches!(read(&folder), Err(Error::File { .. })));
    folder.file("adapter_config.json", lora(2).to_string());
    refusal(read(&folder), &["adapter_model.safetensors", "no such file"]);
    folder.file("adapter_model.safetensors.index.json", "{}");
    refusal(read(&folder), &["several files"]);
    folder.file("adapter_model.bin", "PK");
    refusal(read(&folder), &["adapter_model.bin", "pickle", "PEFT"]);
    std::fs::create_dir(folder.path("adapter_model.safetensors")).unwrap();
    refusal(read(&folder), &["a folder"]);
    refusal(read_adapter(folder.path("adapter_config.json")), &["the folder of an adapter"]);
}

#[test]
fn vera_that_cannot_be_folded_is_refused() {
    let tensors = vera_tensors();
    assert!(read(&saved(&vera(), &tensors)).is_ok());
    let without = |index: usize| {
        let mut rest = tensors.clone();
        rest.remove(index);
        rest
    };
    for index in 0..tensors.len() {
        refused(&vera(), &without(index), &[&tensors[index].0, "no such tensor"]);
    }
    let unsaved = with(vera(), "save_projection", json!(false));
    refused(&unsaved, &tensors[2..], &["save_projection=True"]);
    refused(&with(vera(), "r", json!(3)), &tensors, &["base_model.vera_A", "3 rows"]);
    refused(&with(vera(), "bias", json!("vera_only")), &tensors, &["bias"]);
    let replaced = |index: usize, tensor: Tensor| {
        let mut all = tensors.clone();
        all[index] = tensor;
        all
    };
    let [b, d, lambda_b] = [1, 2, 3].map(|index| tensors[index].0.clone());
    refused(&vera(), &replaced(1, numbered(&b, &[4, 3], 1)), &[&b, "2 columns"]);
    refused(&vera(), &replaced(2, numbered(&d, &[3], 1)), &[&d, "2 values"]);
    refused(&vera(), &replaced(3, numbered(&lambda_b, &[5], 1)), &[&lambda_b, "at most 4"]);
    refused(&vera(), &replaced(2, f32s(&d, &[2], [0.0, f32::NAN])), &[&d, "NaN at [1]"]);
    refused(&vera(), &replaced(2, f32s(&d, &[2], [f32::MAX, 0.0])), &[&d, "finite"]);
    refused(&vera(), &[&tensors[..], &pair("q", 2, 2, 2)].concat(), &["q.lora_A.weight", "vera_lambda_b"]);
    let bias = numbered(format!("{PREFIX}q.bias"), &[4], 1);
    refused(&vera(), &[&tensors[..], &[bias]].concat(), &["q.bias", "trained biases"]);
}

#[test]
fn shards_that_cannot_be_used_are_refused() {
    let (table, tensors) = (shard_table(), shard_tensors());
    let refused = |table: &Value, tensors: &[Tensor], parts: &[&str]| {
        refusal(read_shards(saved_shards(table, tensors).path("")), parts)
    };
    for index in 0..tensors.len() {
        let mut rest = tensors.clone();
        let gone = rest.remove(index);
        refused(&table, &rest, &[&gone.0, "no such tensor"]);
    }
    refused(&with(table.clone(), "format", json!("other")), &tensors, &["tilefold-shards-1"]);
    refused(&with(table.clone(), "modules", json!({})), &tensors, &["at least 1 module"]);
    refused(&with(table.clone(), "extra", json!(1)), &tensors, &["extra"]);
    refused(&with(table.clone(), "a_pool", json!(1)), &tensors, &["invalid type"]);
    // One index for two modules: a small file could ask for any number of copies.
    let entry = table["modules"]["q"].clone();
    refused(
        &with(table.clone(), "modules", json!({"p": entry, "q": entry})),
        &tensors,
        &["q.a", "no such tensor"],
    );
    let replaced = |index: usize, tensor: Tensor| {
        let mut all = tensors.clone();
        all[index] = tensor;
        refused(&table, &all, &[&tensors[index].0])
    };
    assert!(replaced(2, u32s("q.a", &[2, 2], &[0, 0, 3, 0])).contains("3 at [1, 0]"));
    assert!(replaced(2, numbered("q.a", &[2, 2], 0)).contains("U32"));
    replaced(2, u32s("q.a", &[4], &[0; 4]));
    replaced(2, u32s("q.a", &[513, 1], &[0; 513]));
    replaced(0, f32s("a", &[3, 2], [0.0, 0.0, 0.0, 0.0, 0.0, f32::NAN]));
    replaced(0, u32s("a", &[3, 2], &[0; 6]));
    refused(&table, &[&tensors[..], &[numbered("more", &[1], 1)]].concat(), &["more", "left over"]);
    let fewer = [&tensors[..3], &[u32s("q.b", &[1, 1], &[0])]].concat();
    refused(&table, &fewer, &["q", "b_index"]);
}

/// Every cut of a file is refused, whatever is left.
#[test]
fn truncated_files_are_refused() {
    let folder = saved(&lora(2), &pair("q", 2, 3, 4));
    let config = std::fs::read(folder.path("adapter_config.json")).unwrap();
    let tensors = std::fs::read(folder.path("adapter_model.safetensors")).unwrap();
    for length in 0..tensors.len() {
        folder.file("adapter_model.safetensors", &tensors[..length]);
        refusal(read(&folder), &["FILE: expected"]);
    }
    folder.file("adapter_model.safetensors", [&tensors[..], &[0]].concat());
    refusal(read(&folder), &["FILE: expected"]);
    folder.file("adapter_model.safetensors", &tensors);
    for length in 0..config.len() {
        folder.file("adapter_config.json", &config[..length]);
        refusal(read(&folder), &["FILE: expected"]);
    }
    folder.file("adapter_config.json", &config);
    read(&folder).unwrap();
}

/// A file whose header is `header` and whose data are `data_bytes` zeros.
fn with_header(header: &str, data_bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data_bytes]].concat()
}

#[test]
fn headers_that_lie_are_refused() {
    let folder = saved(&lora(2), &pair("q", 2, 3, 4));
    let refused = |bytes: Vec<u8>| {
        folder.file("adapter_model.safetensors", bytes);
        refusal(read(&folder), &["FILE: expected"])
    };
    for claimed in [0, 1, u64::MAX, u64::MAX - 7, 1 << 40, 100_000_000] {
        refused([&claimed.to_le_bytes()[..], b"{}"].concat());
    }
    let name = format!("{PREFIX}q.lora_A.weight");
    let tensor = |shape: &str, offsets: &str| {
        with_header(
            &format!(r#"{{"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#),
            24,
        )
    };
    for (shape, offsets) in [
        ("[2,3]", "[0,25]"),
        ("[2,3]", "[4,28]"),
        ("[2,3]", "[24,0]"),
        ("[2,3]", "[-1,24]"),
        ("[2,4]", "[0,24]"),
        ("[4611686018427387904,4]", "[0,24]"),
        ("[2,-3]", "[0,24]"),
        ("[2.5,3]", "[0,24]"),
        ("[2,3]", "[0,18446744073709551615]"),
        ("[2,3]", "[0,99999999999999999999]"),
        ("[2,3]", "null"),
        ("null", "[0,24]"),
    ] {
        refused(tensor(shape, offsets));
    }
    assert!(refused(tensor("[2,3]", "[0,28]")).contains(&format!("{name} ends at byte 28")));
    assert!(refused(tensor("[2,4]", "[0,24]")).contains(&format!("F32 [2, 4], got {name}: bytes 0 to 24")));
    let unknown = format!(r#"{{"{name}":{{"dtype":"F7","shape":[2,3],"data_offsets":[0,24]}}}}"#);
    assert!(refused(with_header(&unknown, 24)).contains(&format!("{name}: F7")));
    // Ends that add up to more than 64 bits with the length of the header.
    let part = (1_u64 << 61) - 1;
    let entry = |i: u64| {
        format!(r#""{i}":{{"dtype":"U8","shape":[{part}],"data_offsets":[{},{}]}}"#, i * part, (i + 1) * part)
    };
    let entries: Vec<String> = (0..8).map(entry).collect();
    refused(with_header(&format!("{{{}}}", entries.join(",")), 0));
    refused(with_header(&"[".repeat(100_000), 0));
}

proptest! {
    #![proptest_config(random::cases(if cfg!(miri) { 1 } else { 200 }))]

    /// Any byte changed: an adapter or a typed error, never a panic.
    #[test]
    fn damaged_files_are_survived(at in any::<prop::sample::Index>(), byte in any::<u8>(), in_config in any::<bool>()) {
        let (config, tensors) = (lora(2).to_string().into_bytes(), serialized(&pair("q", 2, 3, 4)));
        let folder = Folder::new();
        let damage = |mut bytes: Vec<u8>, here: bool| {
            if here {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        };
        folder.file("adapter_config.json", damage(config, in_config));
        folder.file("adapter_model.safetensors", damage(tensors, !in_config));
        if let Err(error) = read(&folder) {
            let is_typed = matches!(error, Error::Format { .. });
            prop_assert!(is_typed, "{error:?}");
        }
    }
}
