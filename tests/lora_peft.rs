//! Adapters as PEFT saves them: every accepted variant gives the factors that its formula says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tilefold::Result;
use tilefold::lora::{Factors, Module, ModuleKind, PeftAdapter, Precision};
use tilefold::lora::{read_adapter, read_adapter_for, read_shards};

use crate::readers::Folder;

/// Start of the names of a module's tensors.
pub const PREFIX: &str = "base_model.model.";

/// Name, type, shape and bytes of a tensor.
#[derive(Clone)]
pub struct Tensor(pub String, pub Dtype, pub Vec<usize>, pub Vec<u8>);

pub fn f32s(name: impl Into<String>, shape: &[usize], values: impl IntoIterator<Item = f32>) -> Tensor {
    Tensor(name.into(), Dtype::F32, shape.to_vec(), values.into_iter().flat_map(f32::to_le_bytes).collect())
}

pub fn u32s(name: &str, shape: &[usize], values: &[u32]) -> Tensor {
    Tensor(name.into(), Dtype::U32, shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// Values that differ from element to element, and from tensor to tensor.
pub fn numbered(name: impl Into<String>, shape: &[usize], start: u16) -> Tensor {
    let count = u16::try_from(shape.iter().product::<usize>()).unwrap();
    f32s(name, shape, (start..start + count).map(f32::from))
}

/// A and B of a linear map; A counts from 1, B from 101.
pub fn pair(module: &str, rank: usize, inputs: usize, outputs: usize) -> [Tensor; 2] {
    [
        numbered(format!("{PREFIX}{module}.lora_A.weight"), &[rank, inputs], 1),
        numbered(format!("{PREFIX}{module}.lora_B.weight"), &[outputs, rank], 101),
    ]
}

pub fn serialized(tensors: &[Tensor]) -> Vec<u8> {
    let views = tensors.iter().map(|Tensor(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// A folder with a configuration and tensors.
pub fn saved(config: &Value, tensors: &[Tensor]) -> Folder {
    let folder = Folder::new();
    folder.file("adapter_config.json", config.to_string());
    folder.file("adapter_model.safetensors", serialized(tensors));
    folder
}

/// The configuration of a plain LoRA of this rank, with alpha twice the rank.
pub fn lora(rank: usize) -> Value {
    json!({
        "peft_type": "LORA", "r": rank, "lora_alpha": rank * 2, "target_modules": null,
        "base_model_name_or_path": "some/base", "bias": "none", "init_lora_weights": true, "fan_in_fan_out": false,
        "use_dora": false, "modules_to_save": null, "rank_pattern": {}, "layers_to_transform": null,
        "megatron_core": "megatron.core", "loftq_config": {}, "task_type": "CAUSAL_LM", "inference_mode": true,
        "lora_dropout": 0.1, "peft_version": "0.18.0",
    })
}

/// `config` with `field` set to `value`.
pub fn with(mut config: Value, field: &str, value: Value) -> Value {
    config[field] = value;
    config
}

pub fn read(folder: &Folder) -> Result<PeftAdapter> {
    read_adapter(folder.path(""))
}

fn matrix_a(factors: &Factors) -> Vec<Vec<f32>> {
    (0..factors.rank()).map(|i| (0..factors.inputs()).map(|d| factors.a(i, d)).collect()).collect()
}

fn matrix_b(factors: &Factors) -> Vec<Vec<f32>> {
    (0..factors.outputs()).map(|j| (0..factors.rank()).map(|i| factors.b(j, i)).collect()).collect()
}

#[test]
fn plain_factors_are_read_as_they_are() {
    let read = read(&saved(&lora(2), &pair("layers.0.q_proj", 2, 3, 2))).unwrap();
    let factors = &read.adapter.modules["layers.0.q_proj"];
    assert_eq!(matrix_a(factors), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    assert_eq!(matrix_b(factors), [[101.0, 102.0], [103.0, 104.0]]);
    assert_eq!(factors.scale(), 2.0);
    assert_eq!((read.peft_type, read.base_model.as_deref()), ("LORA", Some("some/base")));
    assert_eq!((read.default_rank, read.default_alpha, read.use_rslora), (2, Some(4.0), false));
    assert_eq!((read.tensor_count, read.size_bytes), (2, 40));
    let [module] = &read.modules[..] else { panic!("{:?}", read.modules) };
    assert_eq!((module.name.as_str(), module.kind), ("layers.0.q_proj", ModuleKind::Linear));
    assert_eq!((module.rank, module.inputs, module.outputs), (2, 3, 2));
    assert_eq!((module.alpha, module.scale, module.precisions), (Some(4.0), 2.0, [Precision::F32; 2]));
}

#[test]
fn absent_fields_have_the_defaults_of_peft() {
    let read = read(&saved(&json!({"peft_type": "LORA"}), &pair("q", 8, 1, 1))).unwrap();
    assert_eq!((read.default_rank, read.default_alpha), (8, Some(8.0)));
    assert_eq!(read.modules[0].scale, 1.0);
}

#[test]
fn a_base_that_stores_its_weight_transposed_changes_nothing() {
    let config = with(lora(2), "fan_in_fan_out", json!(true));
    let transposed = read(&saved(&config, &pair("c_attn", 2, 3, 4))).unwrap();
    let plain = read(&saved(&lora(2), &pair("c_attn", 2, 3, 4))).unwrap();
    assert_eq!(transposed.adapter, plain.adapter);
}

#[test]
fn all_types_of_weights_and_mixtures_are_read() {
    let halves: Vec<u8> = [1.5, -0.25].map(f16::from_f32).iter().flat_map(|v| v.to_le_bytes()).collect();
    let brains: Vec<u8> = [3.0, -96.0].map(bf16::from_f32).iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensors = [
        Tensor(format!("{PREFIX}q.lora_A.weight"), Dtype::F16, vec![1, 2], halves),
        Tensor(format!("{PREFIX}q.lora_B.weight"), Dtype::BF16, vec![2, 1], brains),
    ];
    let read = read(&saved(&lora(1), &tensors)).unwrap();
    let factors = &read.adapter.modules["q"];
    assert_eq!(factors.precisions(), [Precision::F16, Precision::Bf16]);
    assert_eq!(
        (matrix_a(factors), matrix_b(factors)),
        (vec![vec![1.5, -0.25]], vec![vec![3.0], vec![-96.0]])
    );
    assert_eq!(read.size_bytes, 8);
}

#[test]
fn tensors_may_start_at_any_byte() {
    let folder = saved(&lora(2), &pair("q", 2, 3, 2));
    let expected = read(&folder).unwrap().adapter;
    let bytes = serialized(&pair("q", 2, 3, 2));
    let (length, rest) = bytes.split_at(8);
    let header = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
    for blanks in 1..4 {
        let mut moved = ((header + blanks) as u64).to_le_bytes().to_vec();
        moved.extend(&rest[..header]);
        moved.extend(" ".repeat(blanks).bytes());
        moved.extend(&rest[header..]);
        folder.file("adapter_model.safetensors", moved);
        assert_eq!(read(&folder).unwrap().adapter, expected);
    }
}

#[test]
fn ranks_and_alphas_follow_the_first_pattern_that_matches() {
    let patterns = r#""rank_pattern": {"q_proj": 1, "layers.1.q_proj": 3, "^model.layers.0.v_proj": 2},
        "alpha_pattern": {"layers\\.[01]\\.v_proj": 5, "v_proj": 7, "_proj": 9.5}"#;
    let config = format!(r#"{{"peft_type": "LORA", "r": 4, "lora_alpha": 8, {patterns}}}"#);
    let modules =
        [("layers.1.q_proj", 1), ("layers.0.v_proj", 2), ("layers.2.v_proj", 4), ("layers.0.k_proj", 4)];
    let tensors: Vec<Tensor> =
        modules.iter().flat_map(|(name, rank)| pair(&format!("model.{name}"), *rank, 2, 2)).collect();
    let folder = saved(&lora(4), &tensors);
    folder.file("adapter_config.json", config);
    let read = read(&folder).unwrap();
    let found = |name: &str| {
        let module = read.modules.iter().find(|module| module.name == format!("model.{name}")).unwrap();
        (module.rank, module.alpha.unwrap(), module.scale)
    };
    // The order of the file, not of the alphabet: "q_proj" comes before "layers.1.q_proj".
    assert_eq!(found("layers.1.q_proj"), (1, 8.0, 8.0));
    assert_eq!(found("layers.0.v_proj"), (2, 5.0, 2.5));
    assert_eq!(found("layers.2.v_proj"), (4, 7.0, 1.75));
    // "_proj" matches whole parts of a name only.
    assert_eq!(found("layers.0.k_proj"), (4, 8.0, 2.0));
}

#[test]
fn rank_stabilised_scales_use_the_rank_of_each_module() {
    let config = with(with(lora(4), "use_rslora", json!(true)), "rank_pattern", json!({"v_proj": 9}));
    let config = with(config, "alpha_pattern", json!({"v_proj": 12}));
    let tensors = [pair("q_proj", 4, 2, 2), pair("v_proj", 9, 2, 2)].concat();
    let read = read(&saved(&config, &tensors)).unwrap();
    assert!(read.use_rslora);
    assert_eq!([read.modules[0].scale, read.modules[1].scale], [4.0, 4.0]);
}

#[test]
fn embeddings_and_the_base_weights_beside_them() {
    let tensors = [
        numbered(format!("{PREFIX}embed_tokens.lora_embedding_A"), &[2, 5], 1),
        numbered(format!("{PREFIX}embed_tokens.lora_embedding_B"), &[3, 2], 101),
        numbered(format!("{PREFIX}embed_tokens.base_layer.weight"), &[5, 3], 1),
    ];
    let read = read(&saved(&lora(2), &tensors)).unwrap();
    let factors = &read.adapter.modules["embed_tokens"];
    assert_eq!((factors.inputs(), factors.outputs()), (5, 3));
    assert_eq!((factors.a(1, 4), factors.b(2, 1)), (10.0, 106.0));
    assert_eq!(read.modules[0].kind, ModuleKind::Embedding);
    assert_eq!(read.base_weights, [format!("{PREFIX}embed_tokens.base_layer.weight")]);
}

#[test]
fn initialisations_that_leave_the_base_alone_are_read() {
    for init in
        [json!(true), json!(false), json!("gaussian"), json!("eva"), json!("orthogonal"), json!("mica")]
    {
        assert!(read(&saved(&with(lora(2), "init_lora_weights", init), &pair("q", 2, 2, 2))).is_ok());
    }
}

#[test]
fn modules_are_selected_as_peft_selects_them() {
    let tensors = pair("model.layers.1.self_attn.q_proj", 2, 2, 2);
    let selected = |config: &Value| read(&saved(config, &tensors)).is_ok();
    let targets = |value: Value| with(lora(2), "target_modules", value);
    let listed = targets(json!(["q_proj"]));
    for config in [
        targets(Value::Null),
        targets(json!("all-linear")),
        targets(json!(["v_proj", "self_attn.q_proj"])),
        targets(json!(["model.layers.1.self_attn.q_proj"])),
        targets(json!(r".*\.(q|v)_proj")),
        // Look-around, which Python has.
        targets(json!(r"^(?!.*vision).*q_proj")),
        with(listed.clone(), "layers_to_transform", json!(1)),
        with(listed.clone(), "layers_to_transform", json!([0, 1])),
        with(with(listed.clone(), "layers_to_transform", json!([1])), "layers_pattern", json!("layers")),
        with(listed.clone(), "exclude_modules", json!(["v_proj"])),
    ] {
        assert!(selected(&config), "{config}");
    }
    for config in [
        targets(json!(["proj"])),
        targets(json!("q_proj")),
        targets(json!(r"^(?!.*layers).*q_proj")),
        with(listed.clone(), "layers_to_transform", json!([0, 2])),
        with(with(listed.clone(), "layers_to_transform", json!([1])), "layers_pattern", json!("blocks")),
        with(listed.clone(), "exclude_modules", json!(r".*layers\.1\..*")),
    ] {
        assert!(!selected(&config), "{config}");
    }
}

/// A VeRA adapter of rank 2 with widest inputs 3 and widest outputs 4.
pub fn vera_tensors() -> Vec<Tensor> {
    vec![
        numbered("base_model.vera_A", &[2, 3], 1),
        numbered("base_model.vera_B", &[4, 2], 11),
        f32s(format!("{PREFIX}q.vera_lambda_d"), &[2], [10.0, 0.5]),
        f32s(format!("{PREFIX}q.vera_lambda_b"), &[4], [1.0, 2.0, -1.0, 0.0]),
        f32s(format!("{PREFIX}v.vera_lambda_d"), &[2], [1.0, 3.0]),
        f32s(format!("{PREFIX}v.vera_lambda_b"), &[1], [5.0]),
    ]
}

pub fn vera() -> Value {
    json!({"peft_type": "VERA", "r": 2, "save_projection": true, "projection_prng_key": 0, "d_initial": 0.1,
           "vera_dropout": 0.0, "bias": "none", "target_modules": ["q", "v"]})
}

pub fn module(name: &str, inputs: usize, outputs: usize) -> Module {
    Module { name: name.into(), inputs, outputs }
}

#[test]
fn vera_is_folded() {
    let folder = saved(&vera(), &vera_tensors());
    let modules = [module("q", 3, 4), module("v", 2, 1), module("o", 7, 7)];
    let read = read_adapter_for(folder.path(""), &modules).unwrap();
    let q = &read.adapter.modules["q"];
    assert_eq!(matrix_a(q), [[10.0, 20.0, 30.0], [2.0, 2.5, 3.0]]);
    assert_eq!(matrix_b(q), [[11.0, 12.0], [26.0, 28.0], [-15.0, -16.0], [0.0, 0.0]]);
    assert_eq!(q.scale(), 1.0);
    let v = &read.adapter.modules["v"];
    assert_eq!((matrix_a(v), matrix_b(v)), (vec![vec![1.0, 2.0], vec![12.0, 15.0]], vec![vec![55.0, 60.0]]));
    assert_eq!((read.peft_type, read.default_alpha, read.tensor_count), ("VERA", None, 6));
    assert_eq!(read.size_bytes, 4 * 2 * (3 + 4 + 2 + 1));
    // Without the base model, all modules get the inputs of the shared matrix.
    assert_eq!(read_adapter(folder.path("")).unwrap().adapter.modules["v"].inputs(), 3);
}

#[test]
fn an_adapter_is_checked_against_the_base_model() {
    let config = with(lora(2), "target_modules", json!(["q", "v"]));
    let folder = saved(&config, &[pair("0.q", 2, 3, 4), pair("0.v", 2, 3, 1)].concat());
    let fits = |modules: &[Module]| read_adapter_for(folder.path(""), modules).map(drop);
    let all = [module("0.q", 3, 4), module("0.v", 3, 1), module("0.o", 4, 3)];
    fits(&all).unwrap();
    let misfit = |modules: &[Module], parts: &[&str]| {
        let message = fits(modules).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    misfit(&all[1..], &["0.q.lora_A.weight", "modules of the base model"]);
    misfit(&[module("0.q", 5, 4), all[1].clone()], &["0.q.lora_A.weight: [2, 3]", "shape [2, 5]"]);
    misfit(&[module("0.q", 3, 7), all[1].clone()], &["0.q.lora_B.weight: [4, 2]", "shape [7, 2]"]);
    // A fourth module that target_modules selects, and that has no tensors.
    misfit(&[&all[..], &[module("1.q", 3, 4)]].concat(), &["base_model.model.1.q", "no tensors"]);
}

/// Shards of 2 elements: a pool of 3 for A, one of 2 for B; rank 2, inputs 4, outputs 2.
pub fn shard_tensors() -> Vec<Tensor> {
    vec![
        numbered("a", &[3, 2], 1),
        numbered("b", &[2, 2], 11),
        u32s("q.a", &[2, 2], &[2, 0, 1, 1]),
        u32s("q.b", &[2, 1], &[1, 0]),
    ]
}

pub fn shard_table() -> Value {
    json!({"format": "tilefold-shards-1", "a_pool": "a", "b_pool": "b",
           "modules": {"q": {"a_index": "q.a", "b_index": "q.b", "scale": 0.5}}})
}

pub fn saved_shards(table: &Value, tensors: &[Tensor]) -> Folder {
    let folder = Folder::new();
    folder.file("shards.json", table.to_string());
    folder.file("shards.safetensors", serialized(tensors));
    folder
}

#[test]
fn shards_are_read_and_stay_shared() {
    let folder = saved_shards(&shard_table(), &shard_tensors());
    let adapter = read_shards(folder.path("")).unwrap();
    let q = &adapter.modules["q"];
    assert!(q.is_sharded());
    assert_eq!(q.scale(), 0.5);
    for factors in [q, &q.assembled()] {
        assert_eq!(matrix_a(factors), [[5.0, 6.0, 1.0, 2.0], [3.0, 4.0, 3.0, 4.0]]);
        assert_eq!(matrix_b(factors), [[13.0, 11.0], [14.0, 12.0]]);
    }
}

#[test]
fn fields_of_the_future_are_ignored() {
    let config = with(lora(2), "some_new_field", json!({"level": 3}));
    assert!(read(&saved(&config, &pair("q", 2, 2, 2))).is_ok());
}

#[test]
fn a_path_is_a_folder() {
    let missing = Path::new("no such folder");
    assert!(matches!(read_adapter(missing).unwrap_err(), tilefold::Error::File { .. }));
}
