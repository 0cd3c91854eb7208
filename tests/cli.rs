//! The `tilefold` command as its users see it: text, exit codes, files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Output;

use ndarray::{Array1, Array2};
use serde_json::Value;
use tilefold::data::{read_vector_f64, write_npy};

use crate::readers::Folder;
use crate::support::command::tilefold;

/// The shipped data, from the repository's root.
pub const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits.npy");

/// Runs the command on the CPU where it does not say otherwise.
pub fn run(arguments: &[&str]) -> Output {
    let mut command = tilefold();
    command.args(arguments);
    if matches!(arguments[0], "kmeans" | "kmedoids" | "predict" | "distance" | "neighbours")
        && !arguments.contains(&"--device")
    {
        command.args(["--device", "cpu"]);
    }
    command.output().unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
pub fn succeed(arguments: &[&str]) -> Output {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    output
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn names_in(folder: &Folder) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path("")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn as_str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file of `rows` x `columns` made-up numbers between -1 and 1.
pub fn table(folder: &Folder, name: &str, rows: usize, columns: usize) -> PathBuf {
    let mut state = 1_u64;
    let numbers = Array2::from_shape_simple_fn((rows, columns), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    });
    let path = folder.path(name);
    write_npy(&path, numbers.view()).unwrap();
    path
}

#[test]
fn help_texts_are_the_snapshots() {
    for subcommand in ["", "devices", "kmeans", "predict", "distance"] {
        let arguments = [subcommand, "--help"].into_iter().filter(|word| !word.is_empty());
        let name = format!("help_{}", if subcommand.is_empty() { "tilefold" } else { subcommand });
        let output = tilefold().args(arguments).env("COLUMNS", "100").output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        insta::assert_snapshot!(name, text(&output.stdout));
    }
}

#[test]
fn a_fit_prints_its_summary_to_stderr_and_nothing_to_stdout() {
    let output = succeed(&["kmeans", DIGITS, "-k", "10"]);
    assert!(output.stdout.is_empty());
    let summary = text(&output.stderr);
    for words in ["1,797 x 64 f32", "cpu (", "converged", "inertia", "10 of sizes", "read", "iterate"] {
        assert!(summary.contains(words), "{words} is missing in {summary}");
    }
    assert!(succeed(&["kmeans", DIGITS, "-k", "10", "-q"]).stderr.is_empty());
}

#[test]
fn json_has_every_key_with_its_type() {
    let output = succeed(&["kmeans", DIGITS, "-k", "10", "--json"]);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let object = json(&output);
    let keys: Vec<&String> = object.as_object().unwrap().keys().collect();
    let expected = [
        "cluster_sizes",
        "columns",
        "converged",
        "device",
        "history",
        "inertia",
        "n_clusters",
        "n_iter",
        "products",
        "rechecked",
        "rows",
        "screened",
        "seconds",
    ];
    assert_eq!(keys, expected);
    assert_eq!([&object["rows"], &object["columns"], &object["n_clusters"]], [1797, 64, 10]);
    let n_iter = object["n_iter"].as_u64().unwrap();
    assert_eq!(object["history"].as_array().unwrap().len() as u64, n_iter);
    assert!(object["history"].as_array().unwrap().iter().all(Value::is_f64));
    assert_eq!(object["products"].as_array().unwrap().len() as u64, n_iter);
    assert!(object["products"].as_array().unwrap().iter().all(Value::is_u64));
    let sizes = object["cluster_sizes"].as_array().unwrap();
    assert_eq!(sizes.iter().map(|size| size.as_u64().unwrap()).sum::<u64>(), 1797);
    assert!(object["inertia"].as_f64().unwrap() > 1.1e6 && object["converged"].is_boolean());
    assert!(object["device"].as_str().unwrap().starts_with("cpu ("));
    assert!((0.0..=1.0).contains(&object["rechecked"].as_f64().unwrap()));
    for stage in ["read", "upload", "init", "iterate"] {
        assert!(object["seconds"][stage].as_f64().unwrap() >= 0.0, "{stage}");
    }
}

#[test]
fn devices_are_listed() {
    assert!(text(&succeed(&["devices"]).stdout).contains("cpu ("));
    let object = json(&succeed(&["devices", "--json"]));
    assert!(object["cpu"].as_str().unwrap().starts_with("cpu ("));
    assert!(object["auto"].is_string());
    for adapter in object["adapters"].as_array().unwrap() {
        assert!(adapter["name"].is_string() && adapter["limits"]["window_bytes"].as_u64().unwrap() > 0);
    }
}

#[test]
fn files_hold_the_fit_and_predict_repeats_its_labels() {
    let folder = Folder::new();
    let paths = ["l.npy", "l.csv", "c.npy", "c.csv", "m.model", "p.svg", "again.npy"].map(|n| folder.path(n));
    let [labels, labels_csv, centroids, centroids_csv, model, plot, again] =
        paths.each_ref().map(|path| as_str(path));
    let fit = ["kmeans", DIGITS, "-k", "10", "--seed", "3"];
    let wanted = ["--labels", labels, "--centroids", centroids, "--model", model, "--plot", plot];
    succeed(&[&fit[..], &wanted].concat());
    succeed(&[&fit[..], &["--labels", labels_csv, "--centroids", centroids_csv]].concat());
    let printed = succeed(&[&fit[..], &["--labels", "-"]].concat());
    assert_eq!(names_in(&folder).len(), 6, "no temporary file is left: {:?}", names_in(&folder));

    let values = read_vector_f64(labels).unwrap();
    assert_eq!(values.len(), 1797);
    assert_eq!(values, read_vector_f64(labels_csv).unwrap());
    let lines: Vec<f64> = text(&printed.stdout).lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(values, lines);
    let centroids = tilefold::Table::open(centroids).unwrap();
    let text_centroids = tilefold::Table::open(centroids_csv).unwrap();
    let (tilefold::Points::F64(a), tilefold::Points::F64(b)) = (centroids.points(), text_centroids.points())
    else {
        panic!("centroids are f64");
    };
    assert_eq!(a.dim(), (10, 64));
    assert_eq!(a, b, "text reads back to the same bits");
    let picture = std::fs::read_to_string(plot).unwrap();
    assert!(picture.contains("1,797 rows") && picture.contains("principal component"));

    let predicted = succeed(&["predict", DIGITS, "--model", model, "--labels", again, "--json"]);
    assert_eq!(std::fs::read(labels).unwrap(), std::fs::read(again).unwrap());
    let object = json(&predicted);
    assert_eq!(object["rows"], 1797);
    let printed_again = succeed(&["predict", DIGITS, "--model", model]);
    assert_eq!(printed_again.stdout, printed.stdout);
}

#[test]
fn given_centroids_weights_and_columns_reach_the_fit() {
    let folder = Folder::new();
    let input = folder.file("x.csv", "name,a,b\np,0,0\nq,1,0\nr,10,0\ns,11,0\n");
    let init = folder.file("init.csv", "0,0\n10,0\n");
    let weights = folder.file("w.csv", "3\n1\n1\n1\n");
    let centroids = folder.path("c.csv");
    let arguments = ["-k", "2", "--columns", "1..3", "--header", "yes", "--delimiter", ","];
    let [input, init, weights, out] = [&input, &init, &weights, &centroids].map(|path| as_str(path));
    succeed(
        &[
            &["kmeans", input][..],
            &arguments,
            &["--init", init, "--weights", weights, "--tol", "0", "--centroids", out],
        ]
        .concat(),
    );
    let text = std::fs::read_to_string(&centroids).unwrap();
    let values: Vec<f64> =
        text.split([',', '\n']).filter(|t| !t.is_empty()).map(|t| t.parse().unwrap()).collect();
    let expected = [0.25, 0.0, 10.5, 0.0];
    assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{values:?}");
    for extra in
        [&["--spherical", "--columns", "1..2"][..], &["--init", "random"], &["--init", "k-means-parallel"]]
    {
        let spherical = extra[0] == "--spherical";
        let output = run(&[&["kmeans", DIGITS, "-k", "2"][..], extra].concat());
        // Column 1 alone has rows of zero, which have no direction.
        assert_eq!(output.status.success(), !spherical, "{extra:?}: {}", self::text(&output.stderr));
    }
}

/// Every wrong input: exit code 2, one line that names the argument, nothing written.
#[test]
fn bad_input_is_refused_by_name_and_nothing_is_written() {
    let folder = Folder::new();
    let good = table(&folder, "good.npy", 20, 3);
    let good = as_str(&good);
    let file = |name: &str, content: &[u8]| as_str(&folder.file(name, content)).to_owned();
    let array = |name: &str, values: Array2<f64>| {
        write_npy(folder.path(name), values.view()).unwrap();
        as_str(&folder.path(name)).to_owned()
    };
    let nan = array("nan.npy", Array2::from_elem((4, 2), f64::NAN));
    let infinite = array("infinite.npy", Array2::from_elem((4, 2), f64::INFINITY));
    let huge = array("huge.npy", Array2::from_shape_fn((4, 2), |(row, _)| row as f64 * 1e307));
    let no_rows = array("no_rows.npy", Array2::zeros((0, 3)));
    let no_columns = array("no_columns.npy", Array2::zeros((3, 0)));
    let narrow = array("narrow.npy", Array2::zeros((2, 2)));
    let bytes = std::fs::read(good).unwrap();
    let truncated = file("truncated.npy", &bytes[..bytes.len() - 4]);
    let lying = text(&bytes[..128].to_ascii_lowercase()[10..]).replace("(20, 3)", "(90000000000, 3)");
    let lying = file("lying.npy", &[&bytes[..10], &lying.as_bytes()[..118], &bytes[128..]].concat());
    let letters = file("letters.csv", b"1,2\n3,x\n");
    let short = file("short.csv", b"1\n2\n");
    let negative = file("negative.csv", "-1\n".repeat(20).as_bytes());
    let zero = file("zero.csv", "0\n".repeat(20).as_bytes());
    let before = names_in(&folder);
    let out = as_str(&folder.path("labels.npy")).to_owned();

    let cases: Vec<(Vec<&str>, &str)> = vec![
        (vec![good, "-k", "0"], "-k"),
        (vec![good, "-k", "21"], "-k"),
        (vec![good, "-k", "-2"], "n-clusters"),
        (vec![good, "-k", "two"], "n-clusters"),
        (vec![&nan, "-k", "2"], "INPUT"),
        (vec![&infinite, "-k", "2"], "INPUT"),
        (vec![&huge, "-k", "2"], "INPUT"),
        (vec![&no_rows, "-k", "2"], "INPUT"),
        (vec![&no_columns, "-k", "2"], "INPUT"),
        (vec![&truncated, "-k", "2"], "INPUT"),
        (vec![&lying, "-k", "2"], "INPUT"),
        (vec![&letters, "-k", "2"], "INPUT"),
        (vec!["missing.npy", "-k", "2"], "INPUT missing.npy"),
        (vec![good, "-k", "2", "--weights", &short], "--weights"),
        (vec![good, "-k", "2", "--weights", &negative], "--weights"),
        (vec![good, "-k", "2", "--weights", &zero], "--weights"),
        (vec![good, "-k", "2", "--weights", &nan], "--weights"),
        (vec![good, "-k", "2", "--init", &narrow], "--init"),
        (vec![good, "-k", "2", "--init", "kmeans"], "--init"),
        (vec![good, "-k", "2", "--n-init", "0"], "--n-init"),
        (vec![good, "-k", "2", "--max-iter", "0"], "--max-iter"),
        (vec![good, "-k", "2", "--tol", "-1"], "--tol"),
        (vec![good, "-k", "2", "--tol", "nan"], "--tol"),
        (vec![good, "-k", "2", "--seed", "-1"], "--seed"),
        (vec![good, "-k", "2", "--columns", "2..9"], "--columns"),
        (vec![good, "-k", "2", "--columns", "2..2"], "--columns"),
        (vec![good, "-k", "2", "--delimiter", "5"], "--delimiter"),
        (vec![good, "-k", "2", "--header", "maybe"], "--header"),
        (vec![good, "-k", "2", "--device", "no such device"], "device"),
        (vec![good, "-k", "2", "--device", "cpu:0"], "--device"),
        (vec![good, "-k", "2", "--threads", "0"], "--threads"),
        (vec![good, "-k", "2", "--window-bytes", "none"], "--window-bytes"),
        (vec![good, "-k", "2", "--plot", "plot.png"], "--plot"),
        (vec![good, "-k", "2", "--centroids", "centroids.txt"], "--centroids"),
        (vec![good, "-k", "2", "--model", "no/such/folder/model"], "--model"),
        (vec![good, "-k", "2", "--centroids", &out], "--centroids"),
        (vec![good, "-k", "2", "--model", good], "--model"),
        (vec![good, "-k", "2", "--frobnicate"], "--frobnicate"),
        (vec![good], "--n-clusters"),
    ];
    for (arguments, name) in cases {
        let output = run(&[&["kmeans"][..], &arguments, &["--labels", &out]].concat());
        refused(&arguments, &output, name);
        assert_eq!(names_in(&folder), before, "{arguments:?} wrote something");
    }
    for (arguments, name) in [
        (vec!["predict", good, "--model", good], "--model"),
        (vec!["predict", good, "--model", "missing"], "--model"),
        (vec!["predict", good, "--model", "x", "--json", "--labels", "-"], "--labels"),
        (vec!["kmeans", good, "-k", "2", "--json", "--labels", "-"], "--labels"),
        (vec!["frobnicate"], "frobnicate"),
    ] {
        refused(&arguments, &run(&arguments), name);
    }
    assert_eq!(tilefold().output().unwrap().status.code(), Some(2));
}

#[track_caller]
pub fn refused(arguments: &[&str], output: &Output, name: &str) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert!(message.starts_with("tilefold: error: ") && message.contains(name), "{arguments:?}: {message}");
    assert!(!message.contains(".partial"), "{arguments:?}: {message}");
    assert!(message.lines().count() == 1 && message.len() < 400, "{arguments:?}: {message}");
}

#[test]
fn a_model_of_other_data_is_refused() {
    let folder = Folder::new();
    let (wide, model) = (table(&folder, "wide.npy", 9, 5), folder.path("model"));
    succeed(&["kmeans", DIGITS, "-k", "2", "--model", as_str(&model)]);
    refused(&[], &run(&["predict", as_str(&wide), "--model", as_str(&model)]), "INPUT: expected 64 columns");
    let mut bytes = std::fs::read(&model).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    refused(&[], &run(&["predict", DIGITS, "--model", as_str(&model)]), "checksum");
}

#[test]
fn distances_go_to_a_file() {
    let folder = Folder::new();
    let (x, y) = (folder.file("x.csv", "0,0\n3,4\n"), folder.file("y.csv", "0,0\n1,0\n3,0\n"));
    let out = folder.path("d.npy");
    let [x, y, out] = [&x, &y, &out].map(|path| as_str(path));
    let matrix = || {
        let table = tilefold::Table::open(out).unwrap();
        let tilefold::Points::F64(values) = table.points() else { panic!("text is f64") };
        values.to_owned()
    };
    succeed(&["distance", x, "--metric", "euclidean", "-o", out]);
    assert_eq!(matrix(), ndarray::array![[0.0, 5.0], [5.0, 0.0]]);
    let output = succeed(&["distance", x, y, "--metric", "manhattan", "-o", out, "--json"]);
    assert_eq!(matrix(), ndarray::array![[0.0, 1.0, 3.0], [7.0, 6.0, 4.0]]);
    let weights = folder.file("w.csv", "1,0.125\n");
    let powered = ["--metric", "minkowski", "--p", "3", "--weights", as_str(&weights)];
    succeed(&[&["distance", x], &powered[..], &["-o", out]].concat());
    assert!((matrix()[[0, 1]] - 35.0_f64.cbrt()).abs() < 1e-12);
    let object = json(&output);
    assert_eq!((&object["rows"], &object["columns"]), (&Value::from(2), &Value::from(3)));
    assert_eq!((&object["metric"], &object["element_type"]), (&"manhattan".into(), &"f64".into()));
}

#[test]
fn bad_input_of_distance_is_refused_by_name() {
    let folder = Folder::new();
    let (good, wide) = (table(&folder, "good.npy", 4, 2), table(&folder, "wide.npy", 4, 3));
    let zeros = folder.file("zeros.csv", "1,2\n0,0\n");
    let before = names_in(&folder);
    let [good, wide, zeros] = [&good, &wide, &zeros].map(|path| as_str(path));
    let out = folder.path("out.npy");
    let out = as_str(&out);
    for (arguments, name) in [
        (vec![good, "--metric", "nearest", "-o", out], "--metric"),
        (vec![good, wide, "--metric", "euclidean", "-o", out], "Y: expected 2 columns"),
        (vec![zeros, "--metric", "cosine", "-o", out], "X[1, "),
        (vec![good, zeros, "--metric", "cosine", "-o", out], "Y[1, "),
        (vec!["missing.npy", "--metric", "cosine", "-o", out], "X missing.npy"),
        (vec![good, "--metric", "euclidean", "-o", "d.csv"], "--output"),
        (vec![good, "--metric", "euclidean", "-o", good], "--output"),
        (vec![good, "--metric", "euclidean"], "--output"),
        (
            vec![good, "--metric", "minkowski", "--p", "-1", "-o", out],
            "--p: expected a finite number above 0",
        ),
        (vec![good, "--metric", "euclidean", "--p", "2", "-o", out], "--p: expected metric minkowski"),
        (vec![good, "--metric", "seuclidean", "-o", out], "--variances"),
        (vec![good, "--metric", "seuclidean", "--variances", wide, "-o", out], "--variances: expected 2"),
        (
            vec![good, "--metric", "mahalanobis", "--inverse-covariance", wide, "-o", out],
            "--inverse-covariance",
        ),
        (vec![good, "--metric", "jaccard", "-o", out], "X[0, "),
        (vec![good, "--metric", "bit_hamming", "-o", out], "X: expected packed bits"),
    ] {
        refused(&arguments, &run(&[&["distance"][..], &arguments].concat()), name);
        assert_eq!(names_in(&folder), before, "{arguments:?} wrote something");
    }
}

#[test]
fn the_nearest_centroids_begin_with_the_label() {
    let folder = Folder::new();
    let names = ["l.npy", "i.npy", "d.npy", "m.model", "j.npy", "k.csv"];
    let paths = names.map(|name| folder.path(name));
    let [labels, indices, distances, model, again, text_again] = paths.each_ref().map(|path| as_str(path));
    let top = ["--top", "3", "--top-out", indices, "--top-distances", distances];
    succeed(&[&["kmeans", DIGITS, "-k", "5", "--labels", labels, "--model", model][..], &top].concat());
    let tables = [indices, distances].map(|path| tilefold::Table::open(path).unwrap());
    let [tilefold::Points::U32(indices_found), tilefold::Points::F64(distances)] =
        tables.each_ref().map(|table| table.points())
    else {
        panic!("u32 and f64");
    };
    assert_eq!((indices_found.dim(), distances.dim()), ((1797, 3), (1797, 3)));
    let first: Vec<f64> = indices_found.column(0).iter().map(|&index| f64::from(index)).collect();
    assert_eq!(first, read_vector_f64(labels).unwrap());
    assert!(distances.outer_iter().all(|row| row[0] <= row[1] && row[1] <= row[2]));

    let predict = ["predict", DIGITS, "--model", model, "--top", "3", "--top-out"];
    succeed(&[&predict[..], &[again]].concat());
    assert_eq!(std::fs::read(indices).unwrap(), std::fs::read(again).unwrap());
    for (arguments, name) in [
        (vec!["--top", "6", "--top-out", text_again], "--top: expected 1 to 5"),
        (vec!["--top", "0", "--top-out", text_again], "--top: expected 1 to 5"),
        (vec!["--top", "2"], "--top-out"),
        (vec!["--top-out", text_again], "--top"),
    ] {
        refused(&arguments, &run(&[&["predict", DIGITS, "--model", model][..], &arguments].concat()), name);
        let fit = ["kmeans", DIGITS, "-k", "5"];
        refused(&arguments, &run(&[&fit[..], &arguments].concat()), name);
        assert!(!Path::new(text_again).exists());
    }
}

#[test]
fn threads_do_not_change_the_labels() {
    let labels = |threads: &str| {
        let output = succeed(&["kmeans", DIGITS, "-k", "7", "-q", "--labels", "-", "--threads", threads]);
        let lines = text(&output.stdout).lines().map(|line| line.parse::<u32>().unwrap());
        lines.collect::<Array1<u32>>()
    };
    assert_eq!(labels("1"), labels("3"));
}

/// `TILEFOLD_SIMD` caps the instruction set where the hooks for tests are built in.
#[cfg(feature = "test-hooks")]
#[test]
fn instruction_sets_do_not_change_the_bits() {
    let folder = Folder::new();
    let input = table(&folder, "x.npy", 1500, 37);
    let files = ["best", "avx2", "portable"].map(|most| {
        let (labels, model) = (folder.path(&format!("{most}.npy")), folder.path(&format!("{most}.model")));
        let mut command = tilefold();
        command.env("TILEFOLD_SIMD", most).args([
            "kmeans",
            as_str(&input),
            "-k",
            "45",
            "--device",
            "cpu",
            "-q",
        ]);
        command.args(["--max-iter", "8", "--labels", as_str(&labels), "--model", as_str(&model)]);
        assert!(command.status().unwrap().success(), "{most}");
        (std::fs::read(labels).unwrap(), std::fs::read(model).unwrap())
    });
    assert!(files[0] == files[1], "avx2");
    assert!(files[0] == files[2], "portable");
}
