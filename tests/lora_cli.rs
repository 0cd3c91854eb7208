//! `tilefold lora inspect` and `lora apply` as their users see them: text, exit codes, files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Output;

use half::f16;
use ndarray::{Array2, ArrayView2, array};
use serde_json::{Value, json};
use tilefold::data::write_npy;
use tilefold::lora::{Factors, Routes, Scalar, read_adapter, read_shards};
use tilefold::{Device, Points, Table};

use crate::cli::{as_str, names_in, refused, run, succeed, text};
use crate::lora_peft::{lora, pair, saved, saved_shards, shard_table, shard_tensors, with};
use crate::readers::Folder;
use crate::support::backends::on_every_backend;
use crate::support::command::tilefold;
use crate::support::compare::{Wide, close, must};
use crate::support::lora::{Batch, activations, bits, expected};

on_every_backend!(sums_are_those_of_the_definition, halves_stay_halves, shards_are_applied);

const Q: &str = "model.layers.0.self_attn.q_proj";

/// A folder that PEFT saved.
fn adapter(name: &str) -> String {
    format!("{}/tests/data/lora/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// How the command names the device that a test runs on.
fn selector(device: &Device) -> String {
    let name = device.name();
    if name == "reference" || name.starts_with("cpu") {
        return name.split(' ').next().unwrap().to_owned();
    }
    std::env::var("TILEFOLD_GPU").ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "gpu".into())
}

fn stored<T: tilefold::data::NpyElement>(folder: &Folder, name: &str, array: ArrayView2<'_, T>) -> String {
    let path = folder.path(name);
    write_npy(&path, array).unwrap();
    as_str(&path).to_owned()
}

fn f32s(path: &str) -> Array2<f32> {
    let table = Table::open(path).unwrap();
    let Points::F32(values) = table.points() else { panic!("f32 was expected") };
    values.to_owned()
}

/// What is compared: every element against the definition, within the bound.
fn check<X: Scalar, Y: Scalar>(batch: &Batch<X, Y>, got: ArrayView2<'_, Y>) {
    let expected = expected(batch);
    let got: Vec<Wide> = got.iter().map(|value| Wide(f64::from(value.widen()))).collect();
    must(close(&expected.values, &got, |index| expected.bounds[index]));
}

fn factors(name: &str) -> Factors {
    read_adapter(adapter(name)).unwrap().adapter.modules[Q].clone()
}

/// Five rows over three adapters by name and by position, with several lines for a row, out of order.
fn routes(folder: &Folder) -> (String, Routes) {
    let lines = "adapter,scale,row\nbfloat,2,4\n0,1,1\nhalf,-0.5,4\n1,1,0\nplain,1,3\n";
    let mut routes = Routes::new();
    for row in [&[(1, 1.0)][..], &[(0, 1.0)], &[], &[(0, 1.0)], &[(2, 2.0), (1, -0.5)]] {
        routes.push_scaled(row).unwrap();
    }
    (as_str(&folder.file("routes.csv", lines)).to_owned(), routes)
}

fn sums_are_those_of_the_definition(device: &Device) {
    let folder = Folder::new();
    let (lines, routes) = routes(&folder);
    let slots = ["plain", "half", "bfloat"];
    let out = as_str(&folder.path("out.npy")).to_owned();
    let [x, y]: [Array2<f32>; 2] = [activations(5, 8, 1), activations(5, 8, 2)];
    let mut batch = Batch { slots: slots.map(factors).to_vec(), routes, x, y };
    let [x_path, y_path] =
        [("x.npy", &batch.x), ("y.npy", &batch.y)].map(|(n, a)| stored(&folder, n, a.view()));
    let adapters = slots.map(adapter);
    let adapters = adapters.each_ref().map(String::as_str);
    let device = selector(device);
    let given = [
        &["lora", "apply", "--adapter"][..],
        &adapters,
        &["--routes", &lines, "-x", &x_path, "--module", Q, "-o", &out, "--device", &device],
    ]
    .concat();

    let output = succeed(&[&given[..], &["-y", &y_path, "--json"]].concat());
    let sums = f32s(&out);
    check(&batch, sums.view());
    assert_eq!(bits(sums.slice(ndarray::s![2..3, ..])), bits(batch.y.slice(ndarray::s![2..3, ..])));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<&String> = object.as_object().unwrap().keys().collect();
    let expected = [
        "adapters",
        "device",
        "inputs",
        "module",
        "outputs",
        "routes",
        "rows",
        "rows_without_adapter",
        "seconds",
        "x_type",
        "y_type",
    ];
    assert_eq!(keys, expected);
    assert_eq!([&object["rows"], &object["routes"], &object["rows_without_adapter"]], [5, 5, 1]);
    assert_eq!(object["adapters"][0]["name"], "plain");
    assert_eq!([&object["adapters"][1]["rank"], &object["adapters"][1]["rows"]], [2, 2]);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));

    // Without y the sums start from zeros.
    let output = succeed(&given);
    batch.y.fill(0.0);
    check(&batch, f32s(&out).view());
    let summary = text(&output.stderr);
    for words in ["5, 8 f32 to 8 f32", Q, "3 of ranks 2 2 2", "5, 1 row without an adapter", "device", "read"]
    {
        assert!(summary.contains(words), "{words} is missing in {summary}");
    }
    assert!(output.stdout.is_empty());
    assert!(succeed(&[&given[..], &["-q"]].concat()).stderr.is_empty());
    assert_eq!(names_in(&folder), ["out.npy", "routes.csv", "x.npy", "y.npy"]);
}

fn halves_stay_halves(device: &Device) {
    let folder = Folder::new();
    let (lines, routes) = routes(&folder);
    let out = as_str(&folder.path("out.npy")).to_owned();
    let slots = ["plain", "half", "bfloat"];
    let (x, y): (Array2<f16>, Array2<f16>) = (activations(5, 8, 3), activations(5, 8, 4));
    let batch = Batch { slots: slots.map(factors).to_vec(), routes, x, y };
    let (x, y) = (stored(&folder, "x.npy", batch.x.view()), stored(&folder, "y.npy", batch.y.view()));
    let mut arguments =
        vec!["lora", "apply", "--routes", &lines, "-x", &x, "-y", &y, "--module", Q, "-o", &out];
    let adapters = slots.map(adapter);
    adapters.iter().for_each(|path| arguments.extend(["--adapter", path]));
    let device = selector(device);
    succeed(&[&arguments[..], &["--device", &device]].concat());
    let table = Table::open(&out).unwrap();
    let Points::F16(sums) = table.points() else { panic!("f16 was expected") };
    check(&batch, sums);
}

/// The fixture's shards are shorter than any page of device memory.
fn shards_are_applied(device: &Device) {
    let shards = saved_shards(&shard_table(), &shard_tensors());
    let folder = Folder::new();
    let factors = read_shards(shards.path("")).unwrap().modules["q"].clone();
    let batch = Batch {
        slots: vec![factors.assembled()],
        routes: Routes::of_slots([Some(0), None]),
        x: activations::<f32>(2, 4, 1),
        y: Array2::<f32>::zeros((2, 2)),
    };
    let x = stored(&folder, "x.npy", batch.x.view());
    let routes = folder.file("routes.csv", "row,adapter\n0,0\n");
    let out = folder.path("out.npy");
    let shards = shards.path("");
    let [routes, out, shards] = [&routes, &out, &shards].map(|path| as_str(path));
    let device = selector(device);
    let given =
        ["lora", "apply", "--adapter", shards, "--routes", routes, "-x", &x, "--module", "q", "-o", out];
    succeed(&[&given[..], &["--device", &device]].concat());
    check(&batch, f32s(out).view());
}

#[test]
fn help_texts_are_the_snapshots() {
    for subcommand in ["inspect", "apply"] {
        let output = tilefold().args(["lora", subcommand, "--help"]).env("COLUMNS", "100").output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        insta::assert_snapshot!(format!("help_lora_{subcommand}"), text(&output.stdout));
    }
}

fn inspect(arguments: &[&str]) -> String {
    text(&succeed(&[&["lora", "inspect"], arguments].concat()).stdout).to_owned()
}

#[test]
fn inspect_says_what_the_folder_holds() {
    let folder = adapter("rank_stabilised");
    let words = inspect(&[&folder]);
    for line in [
        "type        LORA, scale alpha / sqrt(rank)",
        "default     rank 2, alpha 8",
        "tensors     28; factors of 2,160 bytes",
        "modules     14, 540 weights in A and B",
    ] {
        assert!(words.lines().any(|other| other == line), "{line} is missing in {words}");
    }
    let line = words.lines().find(|line| line.starts_with("model.layers.*.mlp.down_proj ")).unwrap();
    let fields: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(fields[1..], ["2", "linear", "12", "8", "2..3", "7", "4.041452..4.9497476", "f32"]);
    assert_eq!(words.lines().count(), 9 + 7);
    assert_eq!(inspect(&[&folder, "--all"]).lines().count(), 9 + 14);

    let object: Value = serde_json::from_str(&inspect(&[&folder, "--json"])).unwrap();
    let read = read_adapter(&folder).unwrap();
    assert_eq!(object["modules"].as_array().unwrap().len(), read.modules.len());
    for (module, read) in object["modules"].as_array().unwrap().iter().zip(&read.modules) {
        assert_eq!(module["name"], read.name.as_str());
        assert_eq!([&module["rank"], &module["inputs"]], [read.rank, read.inputs]);
        assert_eq!(module["alpha"].as_f64(), read.alpha);
    }
    assert_eq!([&object["weights"], &object["about"]["tensors"]], [540, 28]);
    assert_eq!(object["about"]["use_rslora"], true);
}

#[test]
fn inspect_knows_every_kind() {
    for (name, line) in [
        ("bfloat", vec!["model.layers.*.self_attn.q_proj", "2", "linear", "8", "8", "2", "4", "2", "bf16"]),
        ("embedding", vec!["model.embed_tokens", "1", "embedding", "11", "8", "2", "8", "4", "f32"]),
        ("vera", vec!["model.layers.*.mlp.down_proj", "2", "vera", "12", "8", "3", "-", "1", "f32"]),
    ] {
        let words = inspect(&[&adapter(name)]);
        let found = words.lines().any(|other| other.split_whitespace().eq(line.iter().copied()));
        assert!(found, "{line:?} is missing in {words}");
    }
    let shards = saved_shards(&shard_table(), &shard_tensors());
    let words = inspect(&[as_str(&shards.path(""))]);
    assert!(words.contains("index tables into shared shards"), "{words}");
    let line = words.lines().last().unwrap();
    assert!(line.split_whitespace().eq(["q", "1", "shards", "4", "2", "2", "-", "0.5", "f32"]), "{line}");
}

/// 32 layers of 7 projections fit a screen of 24 lines.
#[test]
fn inspect_of_a_deep_adapter_fits_a_screen() {
    let projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let names = (0..32).flat_map(|layer| projections.map(|name| format!("model.layers.{layer}.{name}")));
    let tensors: Vec<_> = names.flat_map(|name| pair(&name, 2, 3, 3)).collect();
    let folder = saved(&with(lora(2), "target_modules", json!(projections)), &tensors);
    let words = inspect(&[as_str(&folder.path(""))]);
    assert!(words.lines().count() <= 24 && words.contains("model.layers.*.down_proj"), "{words}");
    assert!(words.lines().last().unwrap().split_whitespace().nth(1) == Some("32"), "{words}");
}

#[test]
fn what_cannot_be_inspected_is_refused() {
    let empty = Folder::new();
    for (folder, words) in [
        (adapter("refused_dora"), "use_dora"),
        (adapter("no_such"), "DIR"),
        (adapter("plain/delta.json"), "the folder of an adapter, got a file"),
        (as_str(&empty.path("")).to_owned(), "adapter_config.json"),
    ] {
        let arguments = ["lora", "inspect", folder.as_str()];
        refused(&arguments, &run(&arguments), words);
    }
    assert_eq!(run(&["lora"]).status.code(), Some(2));
}

/// One run with some arguments exchanged for others.
struct Given {
    folder: Folder,
    arguments: Vec<(&'static str, String)>,
}

impl Given {
    fn new() -> Self {
        let folder = Folder::new();
        let x: Array2<f32> = activations(3, 8, 1);
        let arguments = vec![
            ("--adapter", adapter("plain")),
            ("--routes", as_str(&folder.file("routes.csv", "row,adapter\n0,0\n2,plain\n")).to_owned()),
            ("-x", stored(&folder, "x.npy", x.view())),
            ("--module", Q.to_owned()),
            ("-o", as_str(&folder.path("out.npy")).to_owned()),
            ("--device", "cpu".to_owned()),
        ];
        Self { folder, arguments }
    }

    fn run(&self, exchanged: &[(&str, &str)]) -> Output {
        let is_exchanged = |name: &str| exchanged.iter().any(|(other, _)| *other == name);
        let kept = self.arguments.iter().filter(|(name, _)| !is_exchanged(name));
        let all = kept.map(|(name, value)| (*name, value.as_str())).chain(exchanged.iter().copied());
        let words: Vec<&str> =
            ["lora", "apply"].into_iter().chain(all.flat_map(|(name, value)| [name, value])).collect();
        run(&words)
    }
}

#[test]
fn wrong_input_is_refused_by_name_and_nothing_is_written() {
    let given = Given::new();
    assert!(given.run(&[]).status.success());
    std::fs::remove_file(given.folder.path("out.npy")).unwrap();
    let folder = &given.folder;
    let wide = stored(folder, "wide.npy", Array2::<f64>::zeros((3, 8)).view());
    let whole = stored(folder, "whole.npy", Array2::<i32>::zeros((3, 8)).view());
    let narrow = stored(folder, "narrow.npy", Array2::<f32>::zeros((3, 7)).view());
    let short = stored(folder, "short.npy", Array2::<f32>::zeros((2, 8)).view());
    let bad_routes = as_str(&folder.file("bad.csv", "row,adapter\n0,0\n3,0\n")).to_owned();
    let text_file = as_str(&folder.file("x.csv", "1,2,3,4,5,6,7,8\n")).to_owned();
    let (x, routes) = (given.arguments[2].1.clone(), given.arguments[1].1.clone());
    let before = names_in(folder);
    for (exchanged, words) in [
        (vec![("--adapter", adapter("refused_bias"))], "--adapter "),
        (vec![("--adapter", adapter("no_such"))], "opening failed"),
        (vec![("--routes", bad_routes)], "a row of x, 0 to 2, got \"3\" in line 3, column row"),
        (vec![("--routes", "no.csv".into())], "--routes no.csv: opening failed"),
        (vec![("-x", wide.clone())], "wide.npy: expected .npy of f32 or f16, got f64: convert it to f32"),
        (vec![("-x", whole)], "got i32: convert it to f32"),
        (vec![("-x", text_file)], "got f64: convert it to f32"),
        (
            vec![("-x", narrow.clone())],
            "-x: expected 8 columns, the inputs of model.layers.0.self_attn.q_proj",
        ),
        (vec![("-x", "no.npy".into())], "-x no.npy: opening failed"),
        (vec![("-y", wide)], "-y "),
        (vec![("-y", narrow)], "-y: expected 3 x 8"),
        (vec![("-y", short)], "-y: expected 3 x 8"),
        (vec![("--module", "model.layers.9.q_proj".into())], "--module: expected a module that one of"),
        (vec![("-o", "out.csv".into())], "--output: expected a name that ends in .npy"),
        (vec![("-o", x)], "another file than -x"),
        (vec![("-o", routes)], "another file than --routes"),
        (vec![("--device", "no such".into())], "no such"),
    ] {
        let exchanged: Vec<(&str, &str)> = exchanged.iter().map(|(n, value)| (*n, value.as_str())).collect();
        refused(&[words], &given.run(&exchanged), words);
        assert_eq!(names_in(folder), before, "{words}");
    }
    assert!(!Path::new("out.csv").exists());
}

/// Adapters of another shape do not share a batch.
#[test]
fn adapters_that_disagree_are_refused() {
    let given = Given::new();
    let other = saved(&with(lora(1), "target_modules", json!(["q_proj"])), &pair(Q, 1, 8, 5));
    let other = other.path("");
    refused(
        &["outputs"],
        &given.run(&[("--adapter", &adapter("plain")), ("--adapter", as_str(&other))]),
        "--adapter",
    );
}

#[test]
fn an_adapter_without_the_module_warns_once_and_changes_nothing() {
    let given = Given::new();
    let lines = as_str(&given.folder.file("two.csv", "row,adapter\n0,1\n1,1\n2,0\n")).to_owned();
    let output = given.run(&[
        ("--adapter", &adapter("plain")),
        ("--adapter", &adapter("one_layer")),
        ("--routes", &lines),
    ]);
    let words = text(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert_eq!(words.matches("WARN").count(), 1, "{words}");
    assert!(words.contains("one_layer") && words.contains("2 of ranks 2 -"), "{words}");
    let sums = f32s(as_str(&given.folder.path("out.npy")));
    assert_eq!(bits(sums.slice(ndarray::s![..2, ..])), vec![0; 16]);
    assert!(sums.row(2).iter().all(|value| *value != 0.0));
}

/// VeRA's shared A has as many columns as the widest module has inputs: a narrower x takes the first of them.
#[test]
fn vera_takes_its_inputs_from_x() {
    let given = Given::new();
    let output = given.run(&[("--adapter", &adapter("vera")), ("--routes", as_str(&vera_routes(&given)))]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let deltas: Value = serde_json::from_str(
        &std::fs::read_to_string(Path::new(&adapter("vera")).join("delta.json")).unwrap(),
    )
    .unwrap();
    let x = f32s(&given.arguments[2].1);
    let sums = f32s(as_str(&given.folder.path("out.npy")));
    for output in 0..8 {
        let weight = |input: usize| deltas[Q][output][input].as_f64().unwrap() * f64::from(x[(0, input)]);
        let exact: f64 = (0..8).map(weight).sum();
        let size: f64 = (0..8).map(|input| weight(input).abs()).sum();
        assert!((f64::from(sums[(0, output)]) - exact).abs() <= 1e-5 * size, "output {output}");
    }
}

fn vera_routes(given: &Given) -> std::path::PathBuf {
    given.folder.file("vera.csv", "row,adapter\n0,vera\n")
}

#[test]
fn what_numpy_reads_of_halves_is_what_was_written() {
    let folder = Folder::new();
    let values = array![[f16::from_f32(1.5), f16::from_f32(-0.0)], [f16::MAX, f16::from_bits(1)]];
    let path = stored(&folder, "halves.npy", values.view());
    let bytes = std::fs::read(&path).unwrap();
    assert!(text(&bytes[10..60]).contains("'<f2'") && bytes.len() == 128 + 8, "{} bytes", bytes.len());
    let table = Table::open(&path).unwrap();
    let Points::F16(read) = table.points() else { panic!("f16 was expected") };
    assert_eq!(bits(read), bits(values.view()));
}
