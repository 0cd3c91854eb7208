//! What does not fit the memory is an error with its bytes: no command ends by a signal, and none leaves a file behind.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::cli::{as_str, names_in};
use crate::readers::Folder;
use crate::support::command::tilefold;

/// Address space of a command, in KiB: enough for small work.
const LIMIT_KIB: usize = 1 << 20;

/// The command under the limit.
fn limited() -> Command {
    limited_to(LIMIT_KIB)
}

fn limited_to(kib: usize) -> Command {
    let inner = tilefold();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {kib} && exec \"$0\" \"$@\"")]);
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    // One arena: others reserve address space.
    command.env("MALLOC_ARENA_MAX", "1").env_remove("RUST_BACKTRACE");
    command
}

/// An `.npy` file of zeros that takes no room on the disk.
fn hole(folder: &Folder, name: &str, (rows, columns): (usize, usize), descr: &str, bytes: usize) -> PathBuf {
    let path = folder.path(name);
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    header.push_str(&" ".repeat(63 - (header.len() + 10) % 64));
    header.push('\n');
    let mut file = File::create(&path).unwrap();
    file.write_all(b"\x93NUMPY\x01\x00").unwrap();
    file.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((10 + header.len() + rows * columns * bytes) as u64).unwrap();
    path
}

/// Ends with code 2 and a sentence that names bytes, and leaves the folder as it was.
fn refused(mut command: Command, folder: &Folder, arguments: &[&str]) {
    let before = names_in(folder);
    let output = command.args(arguments).current_dir(folder.path("")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {:?}\n{text}", output.status);
    assert!(text.contains("bytes, the limit is") && text.lines().count() == 1, "{arguments:?}: {text}");
    assert_eq!(names_in(folder), before, "{arguments:?}");
}

const CPU: [&str; 3] = ["--device", "cpu", "-q"];

fn with_cpu<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().copied().chain(CPU).collect()
}

#[test]
fn rows_wider_than_any_memory_are_refused() {
    let folder = Folder::new();
    let wide = hole(&folder, "wide.npy", (2, 100_000_000_000), "|u1", 1);
    let wide = as_str(&wide);
    for arguments in [
        &["kmeans", wide, "-k", "2", "--labels", "l.npy", "--model", "m"][..],
        &["kmeans", wide, "-k", "2", "--spherical", "--init", "random", "--centroids", "c.npy"],
        &["kmedoids", wide, "-k", "1", "--medoids", "m.npy"],
        &["kmedoids", wide, "-k", "1", "--method", "onebatch", "--medoids", "m.npy"],
        &["distance", wide, "--metric", "euclidean", "-o", "d.npy"],
        &["distance", wide, "--metric", "canberra", "-o", "d.npy"],
        &["distance", wide, "--metric", "jaccard", "-o", "d.npy"],
        &["neighbours", wide, "-k", "1", "-o", "i.npy"],
        &["neighbours", wide, "-k", "1", "--metric", "correlation", "-o", "i.npy"],
        &["neighbours", wide, "--radius", "1", "--graph", "g.npz"],
    ] {
        refused(tilefold(), &folder, &with_cpu(arguments));
    }
}

#[test]
fn every_command_refuses_what_a_limit_leaves_no_room_for() {
    let folder = Folder::new();
    let wide = hole(&folder, "wide.npy", (2, 30_000_000), "|u1", 1);
    let tall = hole(&folder, "tall.npy", (20_000_000, 1), "|u1", 1);
    let many = hole(&folder, "many.npy", (150_000, 256), "|u1", 1);
    let square = hole(&folder, "square.npy", (12_000, 12_000), "|u1", 1);
    let some = hole(&folder, "some.npy", (16_000, 1), "<f4", 4);
    let large = hole(&folder, "large.npy", (2, 1_000_000_000), "<f4", 4);
    let [wide, tall, many, square, some, large] =
        [&wide, &tall, &many, &square, &some, &large].map(|path| as_str(path));
    let model = folder.path("a.model");
    model_of_64(&model);
    let model = as_str(&model);
    for arguments in [
        // Rows too wide, clusters too many, a result too large, a file too long.
        &["kmeans", wide, "-k", "2", "--labels", "l.npy"][..],
        &["kmeans", many, "-k", "150000", "--model", "m"],
        &["kmeans", large, "-k", "2", "--labels", "l.npy"],
        &["predict", tall, "--model", model, "--top", "64", "--top-out", "t.npy", "--labels", "l.npy"],
        &["distance", wide, "--metric", "euclidean", "-o", "d.npy"],
        &["distance", wide, "--metric", "hamming", "-o", "d.npy"],
        &["neighbours", wide, "-k", "1", "-o", "i.npy"],
        &["neighbours", tall, "-k", "1000", "-o", "i.npy"],
        &["neighbours", some, "--radius", "1", "--graph", "g.npz"],
        &["kmedoids", wide, "-k", "1", "--medoids", "m.npy"],
        &["kmedoids", square, "--precomputed", "-k", "2", "--medoids", "m.npy"],
        &["kmedoids", tall, "-k", "2", "--method", "onebatch", "--sample-size", "1000", "--labels", "l.npy"],
        &["bench", "kmeans", "--n", "200000", "--d", "1000", "--k", "10", "-o", "b.json"],
        &["bench", "distance", "--n", "30000", "--d", "10", "--k", "30000", "-o", "b.json"],
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(CPU);
        refused(limited(), &folder, &arguments);
    }
    // `verify` and `devices` are not here: they hold what they make up themselves, and nothing sized by an input.
    for arguments in [
        &["lora", "simulate", "--requests", "1000000000"][..],
        &["lora", "simulate", "--devices", "10000000000"],
        &["lora", "bench", "--rows", "200000", "--hidden", "2000", "--out", "2000", "--device", "cpu"],
    ] {
        refused(limited(), &folder, arguments);
    }
}

/// A model of 64 centroids with one column, made without a limit.
fn model_of_64(path: &Path) {
    let folder = Folder::new();
    let numbers: String = (0..64).map(|number| format!("{number}\n")).collect();
    std::fs::write(folder.path("x.csv"), numbers).unwrap();
    let mut command = tilefold();
    let input = folder.path("x.csv");
    command.args(with_cpu(&["kmeans", as_str(&input), "-k", "64", "--model", as_str(path)]));
    assert!(command.status().unwrap().success());
}

/// The folder of an adapter whose tensors take no room on the disk.
fn adapter(folder: &Folder, name: &str, tensors: &[(&str, &str, [usize; 2])], config: &Value) {
    let path = folder.path(name);
    std::fs::create_dir(&path).unwrap();
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, dtype, shape) in tensors {
        let bytes = shape[0] * shape[1] * if *dtype == "F16" { 2 } else { 4 };
        header.insert(
            (*name).to_owned(),
            json!({ "dtype": dtype, "shape": shape, "data_offsets": [end, end + bytes] }),
        );
        end += bytes;
    }
    let is_shards = config["format"].is_string();
    let [settings, data] = match is_shards {
        true => ["shards.json", "shards.safetensors"],
        false => ["adapter_config.json", "adapter_model.safetensors"],
    };
    std::fs::write(path.join(settings), config.to_string()).unwrap();
    tensors_of(&path.join(data), serde_json::to_vec(&header).unwrap(), end);
}

fn tensors_of(path: &Path, header: Vec<u8>, data_bytes: usize) {
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + data_bytes) as u64).unwrap();
}

fn lora_of_rank(rank: usize) -> Value {
    json!({ "peft_type": "LORA", "r": rank, "lora_alpha": 2, "target_modules": ["q"] })
}

/// A module's factors, zeros.
fn pair(dtype: &str, inputs: usize, rank: usize, outputs: usize) -> [(&'static str, &str, [usize; 2]); 2] {
    let names = ["base_model.model.q.lora_A.weight", "base_model.model.q.lora_B.weight"];
    [(names[0], dtype, [rank, inputs]), (names[1], dtype, [outputs, rank])]
}

#[test]
fn adapters_without_room_are_refused() {
    let folder = Folder::new();
    // Beyond the address space; mapped, and no room for the copy; small, and so wide that a row of y is large.
    adapter(&folder, "beyond", &pair("F32", 1 << 24, 40, 8), &lora_of_rank(40));
    adapter(&folder, "copied", &pair("F32", 1 << 24, 10, 8), &lora_of_rank(10));
    adapter(&folder, "small", &pair("F32", 8, 1, 8), &lora_of_rank(1));
    adapter(&folder, "wide", &pair("F16", 8, 1, 1 << 23), &lora_of_rank(1));
    // Shards that are no whole pages are put together: 512 times 15 of the same one.
    let tables = [("a", "F32", [1, (1 << 20) + 1]), ("i", "U32", [512, 15]), ("j", "U32", [512, 1])];
    let shards = json!({
        "format": "tilefold-shards-1", "a_pool": "a", "b_pool": "a",
        "modules": { "q": { "a_index": "i", "b_index": "j", "scale": 1.0 } },
    });
    adapter(&folder, "shards", &tables, &shards);
    // Texts of a few bytes per value become many times as long.
    adapter(&folder, "entries", &pair("F32", 8, 1, 8), &lora_of_rank(1));
    let entries: Vec<String> = (0..1_000_000).map(|at| format!("\"{at:x}\":{{}}")).collect();
    let header = format!("{{{}}}", entries.join(",")).into_bytes();
    tensors_of(&folder.path("entries/adapter_model.safetensors"), header, 0);
    adapter(&folder, "fields", &pair("F32", 8, 1, 8), &lora_of_rank(1));
    let fields =
        format!(r#"{{"peft_type":"LORA","r":1,"target_modules":["q"],"x":[0{}]}}"#, ",0".repeat(7_000_000));
    folder.file("fields/adapter_config.json", fields);

    let routes = folder.file("routes.csv", "row,adapter\n0,0\n");
    let many = folder.file("many.csv", format!("row,adapter\n{}", "0,0\n".repeat(3_000_000)));
    let one = hole(&folder, "one.npy", (1, 8), "<f4", 4);
    let tall = hole(&folder, "tall.npy", (20, 8), "<f2", 2);
    let long = hole(&folder, "long.npy", (1 << 28, 8), "<f4", 4);
    let wide = hole(&folder, "wide.npy", (1, 15 * ((1 << 20) + 1)), "<f4", 4);
    let [routes, many, one, tall, long, wide] =
        [&routes, &many, &one, &tall, &long, &wide].map(|path| as_str(path));
    for (kib, name) in
        [(LIMIT_KIB, "beyond"), (LIMIT_KIB, "copied"), (400_000, "entries"), (400_000, "fields")]
    {
        refused(limited_to(kib), &folder, &["lora", "inspect", name]);
        refused(limited_to(kib), &folder, &["lora", "inspect", name, "--json"]);
    }
    for (kib, name, routes, x) in [
        (LIMIT_KIB, "copied", routes, one),
        (LIMIT_KIB, "small", routes, long),
        // A block of y, the copy that is updated, and the adapter in the order of its ranks.
        (150_000, "wide", routes, tall),
        (220_000, "wide", routes, tall),
        (300_000, "wide", routes, tall),
        (LIMIT_KIB, "shards", routes, wide),
        (400_000, "shards", routes, wide),
        // While the list grows, while it is sorted, and when the batch is made of it.
        (100_000, "small", many, one),
        (120_000, "small", many, one),
        (160_000, "small", many, one),
        (220_000, "small", many, one),
        (300_000, "small", many, one),
    ] {
        let words = ["lora", "apply", "--adapter", name, "--routes", routes, "-x", x, "--module", "q"];
        refused(limited_to(kib), &folder, &with_cpu(&[&words[..], &["-o", "out.npy"]].concat()));
    }
}

#[test]
fn results_without_room_are_refused() {
    let folder = Folder::new();
    let zeros = folder.file("zeros.json", format!("[0{}]", ",0".repeat(30_000_000)));
    let zeros = as_str(&zeros);
    refused(limited(), &folder, &["compare", zeros, zeros]);
    refused(limited(), &folder, &["report", zeros, "-o", "page.html"]);
    // Read they fit, and the page of them does not.
    let output = tilefold().args(["verify", "--device", "cpu", "--json"]).output().unwrap();
    let mut record: Value = serde_json::from_slice(&output.stdout).unwrap();
    record["commit"] = "<".repeat(32 << 20).into();
    let record = folder.file("record.json", record.to_string());
    refused(limited_to(400_000), &folder, &["report", as_str(&record), "-o", "page.html"]);
}

#[cfg(feature = "gpu")]
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn problems_to_tune_without_room_are_refused() {
    let folder = Folder::new();
    let device = std::env::var("TILEFOLD_GPU").ok().filter(|text| !text.is_empty());
    let device = ["--device", device.as_deref().unwrap_or("gpu"), "-q"];
    let problem = ["tune", "--workload", "nearest", "--d", "256", "--k", "16", "-o", "out.json"];
    // More than any device has, and less than a device that has no room in this process.
    for (kib, n) in [(1 << 40, "4000000000"), (3 << 20, "4000000")] {
        let words = [&problem[..], &["--n", n], &device].concat();
        refused(limited_to(kib), &folder, &words);
    }
}
