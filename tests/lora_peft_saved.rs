//! Adapters that PEFT itself saved (`scripts/make_lora_fixtures.py`): the factors give the updates that PEFT gives.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tilefold::lora::{Factors, Module, read_adapter_for};

/// The update of each module, `[outputs, inputs]`.
type Updates = BTreeMap<String, Vec<Vec<f64>>>;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora").join(name)
}

fn updates(name: &str) -> Updates {
    serde_json::from_str(&std::fs::read_to_string(folder(name).join("delta.json")).unwrap()).unwrap()
}

/// Whether `scale * B A` is `expected`, up to the roundings of the scale and, for VeRA, of A and of B to `f32`.
fn is_update(factors: &Factors, expected: &[Vec<f64>]) -> bool {
    let unit = f64::from(f32::EPSILON) / 2.0;
    let shape = (expected.len(), expected[0].len());
    let element = |output: usize, input: usize| {
        let terms = (0..factors.rank()).map(|i| {
            f64::from(factors.b(output, i)) * f64::from(factors.a(i, input)) * f64::from(factors.scale())
        });
        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term: f64| (sum + term, size + term.abs()));
        (sum - expected[output][input]).abs() <= 3.0 * unit * size * (1.0 + unit)
    };
    (factors.outputs(), factors.inputs()) == shape
        && (0..shape.0).all(|output| (0..shape.1).all(|input| element(output, input)))
}

#[track_caller]
fn check(name: &str) {
    let expected = updates(name);
    let module = |(name, update): (&String, &Vec<Vec<f64>>)| Module {
        name: name.clone(),
        inputs: update[0].len(),
        outputs: update.len(),
    };
    let modules: Vec<Module> = expected.iter().map(module).collect();
    let read = read_adapter_for(folder(name), &modules).unwrap();
    assert_eq!(read.adapter.modules.len(), expected.len());
    for (module, factors) in &read.adapter.modules {
        assert!(is_update(factors, &expected[module]), "{name}: {module}");
    }
}

#[test]
fn updates_are_those_of_peft() {
    for name in [
        "plain",
        "half",
        "bfloat",
        "rank_stabilised",
        "one_layer",
        "embedding",
        "transposed_base",
        "vera",
        "converted_loha",
        "converted_pissa",
    ] {
        check(name);
    }
}

#[test]
fn another_update_is_noticed() {
    let mut expected = updates("plain");
    let (name, update) = expected.pop_first().unwrap();
    let read = tilefold::lora::read_adapter(folder("plain")).unwrap();
    let factors = &read.adapter.modules[&name];
    assert!(is_update(factors, &update));
    let mut other = update.clone();
    other[3][2] *= 1.0 + 1e-5;
    assert!(!is_update(factors, &other));
    let transposed: Vec<Vec<f64>> =
        (0..update[0].len()).map(|i| update.iter().map(|row| row[i]).collect()).collect();
    assert!(!is_update(factors, &transposed));
}

#[test]
fn what_peft_saves_beside_embeddings_is_named() {
    let read = tilefold::lora::read_adapter(folder("embedding")).unwrap();
    let names = ["lm_head", "model.embed_tokens"];
    assert_eq!(read.base_weights, names.map(|name| format!("base_model.model.{name}.base_layer.weight")));
}

#[test]
fn what_peft_saves_of_other_maths_is_refused() {
    for (name, reason) in [
        ("refused_dora", "use_dora"),
        ("refused_bias", "lora_bias"),
        ("refused_modules_to_save", "modules_to_save"),
        ("refused_pissa", "path_initial_model_for_weight_conversion"),
        ("refused_vera_without_projection", "save_projection=True"),
    ] {
        let message = tilefold::lora::read_adapter(folder(name)).unwrap_err().to_string();
        assert!(message.contains(reason), "{name}: {message}");
    }
}
