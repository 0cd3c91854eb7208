//! Files made to cost more than their size: what they take is bounded, or they are refused with the field and the limit.

use serde_json::{Value, json};
use tilefold::Result;
use tilefold::lora::{PeftAdapter, read_adapter};
use tilefold::measure::record;

use crate::memory::most_held;

const MIB: u64 = 1 << 20;

/// What reading an adapter of `modules` modules with these fields gives, and the most bytes held.
fn read(modules: usize, fields: &[(&str, Value)]) -> (Result<PeftAdapter>, u64) {
    use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
    let folder = tempfile::tempdir().unwrap();
    let mut config = json!({"peft_type": "LORA", "r": 1});
    for (field, value) in fields {
        config[field] = value.clone();
    }
    std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    let one = 1.0_f32.to_le_bytes();
    let view = || TensorView::new(Dtype::F32, vec![1, 1], &one).unwrap();
    let names = (0..modules).flat_map(|module| {
        let name = format!("base_model.model.layers.{module}.{}", "q".repeat(40));
        [format!("{name}.lora_A.weight"), format!("{name}.lora_B.weight")]
    });
    let tensors: Vec<_> = names.map(|name| (name, view())).collect();
    serialize_to_file(tensors, None, &folder.path().join("adapter_model.safetensors")).unwrap();
    most_held(|| read_adapter(folder.path()))
}

#[track_caller]
fn refused(fields: &[(&str, Value)], parts: &[&str]) {
    let (result, held) = read(20, fields);
    let message = result.unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert!(held < 128 * MIB, "{held} bytes: {message}");
}

fn keys(count: usize, key: impl Fn(usize) -> String) -> Value {
    Value::Object((0..count).map(|number| (key(number), json!(1))).collect())
}

#[test]
fn patterns_that_take_gigabytes_are_refused() {
    let classes = |count: usize| keys(4000, |number| format!(r"(\w{{{count}}}){number}"));
    refused(&[("rank_pattern", classes(200))], &["rank_pattern", "compiles to at most 4194304 bytes"]);
    refused(&[("rank_pattern", classes(20))], &["rank_pattern", "33554432 bytes in all"]);
    refused(
        &[("alpha_pattern", keys(4000, |number| format!(r"(?=\w{{99}}){number}")))],
        &["alpha_pattern", "compile"],
    );
    refused(&[("rank_pattern", keys(5000, |number| format!(r"(a){number}")))], &["rank_pattern", "4096"]);
    refused(
        &[("layers_to_transform", json!([1])), ("layers_pattern", json!(vec![r"\w+\d{99}"; 9000]))],
        &["layers_pattern"],
    );
    for text in [r"\w".repeat(41_000), "a|".repeat(41_000), "(".repeat(80_000)] {
        refused(&[("target_modules", json!(text))], &["target_modules", "16384 bytes"]);
    }
    refused(&[("target_modules", json!(r"\w".repeat(2_000)))], &["target_modules", "1024 classes"]);
    refused(&[("exclude_modules", json!(r"(\p{L}{500}|\w{500}){9}"))], &["exclude_modules"]);
    refused(&[("target_modules", json!("(?=q)q|".repeat(2000)))], &["target_modules", "compile"]);
}

/// What people write is read, in memory that stays small.
#[test]
fn many_ordinary_patterns_are_read() {
    let many = keys(4000, |number| format!(r"layers\.{number}\..*(q|v)_proj"));
    let (result, held) = read(20, &[("rank_pattern", many)]);
    result.unwrap();
    println!("{held} bytes for 4000 expressions");
    assert!(held < 256 * MIB, "{held} bytes");
    let long = (0..160)
        .map(|number| format!(r"model\.layers\.{number}\.self_attn\.q_proj"))
        .collect::<Vec<_>>()
        .join("|");
    let (result, held) = read(20, &[("target_modules", json!(format!("{long}|.*qqq")))]);
    result.unwrap();
    assert!(held < 16 * MIB, "{held} bytes");
    let list: Vec<String> = (0..20_000).map(|number| format!("{number}.{}", "q".repeat(40))).collect();
    let (result, held) =
        read(2000, &[("target_modules", json!(list)), ("rank_pattern", keys(20_000, |n| list[n].clone()))]);
    assert_eq!(result.unwrap().modules.len(), 2000);
    assert!(held < 64 * MIB, "{held} bytes");
}

/// Modules times expressions is bounded, by counts.
#[test]
fn a_search_that_takes_long_is_refused() {
    let slow = keys(4000, |number| format!(r"(x{number})"));
    let (result, _) = read(2000, &[("rank_pattern", slow)]);
    let message = result.unwrap_err().to_string();
    assert!(message.contains("rank_pattern") && message.contains("100000000 steps"), "{message}");
}

#[test]
fn results_of_many_objects_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    for text in [
        format!("[{}]", vec!["{}"; 300_000].join(",")),
        format!("{}{}", "{\"a\":".repeat(300_000), "}".repeat(300_000)),
        "[".repeat(1_000_000),
    ] {
        std::fs::write(&path, &text).unwrap();
        let (result, held) = most_held(|| record::read(&path));
        result.unwrap_err();
        assert!(held < 16 * MIB, "{held} bytes");
    }
}
