//! Readers of adapters: configurations and tensors that PEFT wrote, and shards.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tilefold::lora::{Module, read_adapter, read_adapter_for, read_shards};

use crate::harness::{Parser, as_it_is};

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";
const MIB: u64 = 1 << 20;

fn fixture(name: &str, file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora").join(name).join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A folder with one file as it is, into which the other is put.
struct Beside(TempDir);

impl Beside {
    fn new(file: &str, bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), bytes).unwrap();
        Self(folder)
    }

    fn with(&self, file: &str, path: &Path) -> &Path {
        std::fs::copy(path, self.0.path().join(file)).unwrap();
        self.0.path()
    }
}

/// A configuration with expressions of all kinds for the modules of a fixture.
fn expressions() -> Vec<u8> {
    br#"{"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": ".*(?=q|k|v|o|g|u|d).*", "exclude_modules":
    ["x", "z.y"], "rank_pattern": {"x(y)?": 4, "absent": 5, "a.b": 6}, "alpha_pattern": {"(?!q)absent": 1.5},
    "layers_to_transform": null, "layers_pattern": "layers"}"#
        .to_vec()
}

#[test]
fn configurations() {
    let tensors = fixture("plain", TENSORS);
    let beside = Beside::new(TENSORS, &tensors);
    let plain = fixture("plain", CONFIG);
    let rank: usize =
        read_adapter(beside.with(CONFIG, &written("plain.json", &plain).1)).unwrap().default_rank;
    let corpus = vec![
        ("a.json", plain),
        (
            "b.json",
            String::from_utf8(expressions()).unwrap().replace("\"r\": 3", &format!("\"r\": {rank}")).into(),
        ),
    ];
    let words = &[
        "\"rank_pattern\":",
        "\"alpha_pattern\":",
        "\"target_modules\":",
        "\"exclude_modules\":",
        "\"layers_pattern\":",
        "\"layers_to_transform\":",
        "\"r\":",
        "(?=",
        "(?<!",
        "\\\\w",
        "{1000}",
        "(a|b)*",
        "\\\\1",
        "\"use_dora\":",
        "[^.]*",
        ".*.*",
        "\\\\p{L}",
        "(?i)",
    ];
    let modules = [Module { name: "q".into(), inputs: 8, outputs: 8 }];
    // What the expressions of one field compile to is bounded, and so is what searching with them takes.
    let parser = Parser {
        name: "configurations",
        corpus,
        words,
        bytes_per_byte: 64,
        more_bytes: 128 * MIB,
        mend: as_it_is,
    };
    parser.run(
        |path| read_adapter(beside.with(CONFIG, path)),
        |path, read| {
            assert!(!read.modules.is_empty());
            let _either = read_adapter_for(beside.with(CONFIG, path), &modules);
        },
    );
}

fn written(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Makes the length before the header fit what follows: up to the end of the JSON.
fn header_length(bytes: &mut [u8]) {
    if bytes.len() < 9 {
        return;
    }
    let mut header = serde_json::Deserializer::from_slice(&bytes[8..]).into_iter::<serde_json::Value>();
    let is_json = header.next().is_some_and(|value| value.is_ok());
    if is_json {
        let length = header.byte_offset() as u64;
        bytes[..8].copy_from_slice(&length.to_le_bytes());
    }
}

fn tensors_of(name: &'static str, fixtures: &str) {
    let beside = Beside::new(CONFIG, &fixture(fixtures, CONFIG));
    let corpus = vec![("a.safetensors", fixture(fixtures, TENSORS))];
    let words = &[
        "\"F32\"",
        "\"BF16\"",
        "\"shape\":",
        "\"data_offsets\":",
        "[0,0]",
        ".lora_A.weight",
        "\"__metadata__\":{}",
    ];
    // A claim of a tensor takes up to a hundred bytes for seven of the header.
    let parser = Parser { name, corpus, words, bytes_per_byte: 64, more_bytes: MIB, mend: header_length };
    parser.run(
        |path| read_adapter(beside.with(TENSORS, path)),
        |_, read| {
            for module in &read.modules {
                let factors = &read.adapter.modules[&module.name];
                assert_eq!(
                    (factors.rank(), factors.inputs(), factors.outputs()),
                    (module.rank, module.inputs, module.outputs)
                );
                if module.rank > 0 {
                    assert!(factors.a(module.rank - 1, module.inputs - 1).is_finite());
                    assert!(factors.b(module.outputs - 1, module.rank - 1).is_finite());
                }
            }
        },
    );
}

#[test]
fn tensors_of_lora() {
    tensors_of("tensors_of_lora", "one_layer");
}

#[test]
fn tensors_of_vera() {
    tensors_of("tensors_of_vera", "vera");
}

fn shard_files() -> (Vec<u8>, Vec<u8>) {
    let table = br#"{"format": "tilefold-shards-1", "a_pool": "a", "b_pool": "b",
        "modules": {"q": {"a_index": "q.a", "b_index": "q.b", "scale": 2.0}}}"#;
    use safetensors::tensor::{Dtype, TensorView, serialize};
    let floats: Vec<u8> = (0..8_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    let index: Vec<u8> = [0_u32, 1, 3, 2].iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = |dtype, shape: [usize; 2], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    let tensors = [
        ("a", view(Dtype::F32, [4, 2], &floats)),
        ("b", view(Dtype::F32, [4, 2], &floats)),
        ("q.a", view(Dtype::U32, [2, 2], &index)),
        ("q.b", view(Dtype::U32, [2, 2], &index)),
    ];
    (table.to_vec(), serialize(tensors, None).unwrap())
}

#[test]
fn shards() {
    let (table, tensors) = shard_files();
    let beside = Beside::new("shards.safetensors", &tensors);
    let words = &["\"scale\":", "\"a_index\":", "\"modules\":", "\"b\"", "\"q.a\""];
    let corpus = vec![("a.json", table.clone())];
    let parser =
        Parser { name: "shard_tables", corpus, words, bytes_per_byte: 64, more_bytes: MIB, mend: as_it_is };
    let check = |_: &Path, adapter: tilefold::lora::Adapter| {
        for factors in adapter.modules.values() {
            let _read = factors.assembled();
        }
    };
    parser.run(|path| read_shards(beside.with("shards.json", path)), check);
    let beside = Beside::new("shards.json", &table);
    let corpus = vec![("a.safetensors", tensors)];
    let parser = Parser {
        name: "shard_tensors",
        corpus,
        words,
        bytes_per_byte: 64,
        more_bytes: MIB,
        mend: header_length,
    };
    parser.run(|path| read_shards(beside.with("shards.safetensors", path)), check);
}
