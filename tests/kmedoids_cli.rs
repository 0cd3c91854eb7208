//! `tilefold kmedoids` as its users see it.

use ndarray::{Array2, array};
use serde_json::{Value, json};
use tilefold::data::{read_vector_f64, write_npy};

use crate::cli::{DIGITS, as_str, json as parsed, names_in, refused, run, succeed, table, text};
use crate::readers::Folder;
use crate::support::command::tilefold;

/// Two groups on a line: 0, 1, 2 and 9, 10.
const LINE: &str = "0\n1\n2\n9\n10\n";

#[test]
fn help_text_is_the_snapshot() {
    let output = tilefold().args(["kmedoids", "--help"]).env("COLUMNS", "100").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    insta::assert_snapshot!("help_kmedoids", text(&output.stdout));
}

#[test]
fn medoids_and_labels_go_to_files_and_the_summary_to_stderr() {
    let folder = Folder::new();
    let points = folder.file("p.csv", LINE);
    let (labels, medoids) = (folder.path("l.npy"), folder.path("m.csv"));
    let output = succeed(&[
        "kmedoids",
        as_str(&points),
        "-k",
        "2",
        "--init",
        "build",
        "--labels",
        as_str(&labels),
        "--medoids",
        as_str(&medoids),
    ]);
    let of = |path| read_vector_f64(path).unwrap();
    assert_eq!(of(&medoids), [1.0, 3.0]);
    assert_eq!(of(&labels), [0.0, 0.0, 0.0, 1.0, 1.0]);
    assert!(output.stdout.is_empty());
    let summary = text(&output.stderr);
    for words in
        ["5 x 1 f64, euclidean", "cpu (", "fasterpam", "converged", "loss        3", "2 of sizes 3 2"]
    {
        assert!(summary.contains(words), "{words} is missing in {summary}");
    }
    let output = succeed(&["kmedoids", as_str(&points), "-k", "2", "--init", "build", "-q", "--labels", "-"]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("0\n0\n0\n1\n1\n", ""));
}

#[test]
fn json_has_every_key_and_loss_and_silhouette_are_those_of_the_medoids() {
    let folder = Folder::new();
    let points = folder.file("p.csv", LINE);
    let output = succeed(&["kmedoids", as_str(&points), "-k", "2", "--method", "fastpam1", "--json"]);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let object = parsed(&output);
    let keys: Vec<&String> = object.as_object().unwrap().keys().collect();
    let expected = [
        "cluster_sizes",
        "columns",
        "converged",
        "device",
        "loss",
        "medoids",
        "method",
        "metric",
        "n_clusters",
        "n_iter",
        "n_swaps",
        "rows",
        "seconds",
        "silhouette",
        "tried",
    ];
    assert_eq!(keys, expected);
    assert_eq!((&object["method"], &object["metric"]), (&json!("pam"), &json!("euclidean")));
    assert_eq!(object["loss"], 3.0);
    // Medoids 1 and 9 (or 10): 1 - d1 / d2 of 0, 1, 2, 9, 10.
    let medoids: Vec<u64> = object["medoids"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    let far = if medoids.contains(&3) { 9.0_f64 } else { 10.0 };
    let ratios = [1.0 / far, 0.0, 1.0 / (far - 2.0), (far - 9.0) / 8.0, (10.0 - far) / 9.0];
    let silhouette = 1.0 - ratios.iter().sum::<f64>() / 5.0;
    assert!((object["silhouette"].as_f64().unwrap() - silhouette).abs() < 1e-6, "{object}");
    assert!(["read", "matrix", "init", "improve"].iter().all(|stage| object["seconds"][stage].is_f64()));
    assert_eq!(object["tried"], json!([]));
}

#[test]
fn every_method_and_first_medoids_of_every_kind_run() {
    for (method, options) in [
        ("fasterpam", &["--init", "lab"][..]),
        ("fastpam1", &["--init", "k-means++"]),
        ("pam", &["--init", "heuristic", "--max-iter", "7"]),
        ("alternating", &[]),
        ("clara", &["--samples", "3", "--sample-size", "60"]),
        ("clarans", &["--searches", "1", "--patience", "20"]),
        ("onebatch", &["--sample-size", "90", "--max-bytes", "1M"]),
        ("fastermsc", &[]),
        ("fastmsc", &["--max-iter", "5"]),
        ("pammedsil", &["--max-iter", "5"]),
        ("dynmsc", &["--fewest", "6"]),
    ] {
        let arguments = ["kmedoids", DIGITS, "-k", "8", "--method", method, "--seed", "3", "--json"];
        let arguments = [&arguments[..], options].concat();
        let (object, again) = (parsed(&succeed(&arguments)), parsed(&succeed(&arguments)));
        for key in ["medoids", "loss", "silhouette", "n_iter", "n_swaps"] {
            assert_eq!(object[key], again[key], "{method}: {key}");
        }
        let sizes = object["cluster_sizes"].as_array().unwrap();
        let count = object["n_clusters"].as_u64().unwrap();
        assert_eq!(sizes.len() as u64, count, "{method}");
        assert_eq!(sizes.iter().filter_map(Value::as_u64).sum::<u64>(), 1797, "{method}");
        let tried: Vec<u64> =
            object["tried"].as_array().unwrap().iter().filter_map(|of| of[0].as_u64()).collect();
        if method == "dynmsc" {
            assert_eq!(tried, [8, 7, 6], "{method}");
            assert!(tried.contains(&count));
        } else {
            assert!(tried.is_empty() && count == 8, "{method}");
        }
    }
}

#[test]
fn matrices_and_metrics_with_parameters_give_what_the_library_gives() {
    let folder = Folder::new();
    let points = Array2::from_shape_fn((60, 3), |(row, column)| ((row * 7 + column * 13) % 23) as f32);
    let minkowski = Array2::from_shape_fn((60, 60), |(i, j)| {
        let of = |column| f64::from((points[[i, column]] - points[[j, column]]).abs()).powi(3);
        (of(0) + 2.0 * of(1) + of(2)).cbrt()
    });
    let (rows, matrix) = (folder.path("x.npy"), folder.path("d.npy"));
    write_npy(&rows, points.view()).unwrap();
    write_npy(&matrix, minkowski.view()).unwrap();
    let weights = folder.file("w.csv", "1\n2\n1\n");
    let first = folder.file("first.csv", "5\n17\n30\n41\n");
    let common = ["-k", "4", "--init", as_str(&first), "--json"];
    let metric = ["--metric", "minkowski", "--p", "3", "--weights", as_str(&weights)];
    let by_rows = parsed(&succeed(&[&["kmedoids", as_str(&rows)], &common[..], &metric].concat()));
    let by_matrix =
        parsed(&succeed(&[&["kmedoids", as_str(&matrix), "--precomputed"], &common[..]].concat()));
    assert_eq!(by_rows["medoids"], by_matrix["medoids"]);
    let [a, b] = [&by_rows, &by_matrix].map(|object| object["loss"].as_f64().unwrap());
    // One is the sum of f32 distances.
    assert!((a - b).abs() <= 60.0 * 23.0 * 3.0 * f64::from(f32::EPSILON), "{a} {b}");
    assert_eq!((&by_rows["metric"], &by_matrix["metric"]), (&json!("minkowski"), &json!("precomputed")));
    // No iterations: the given ones stay, in their order.
    let stay = [&["kmedoids", as_str(&matrix), "--precomputed", "--max-iter", "0"], &common[..]].concat();
    assert_eq!(parsed(&succeed(&stay))["medoids"], json!([5, 17, 30, 41]));
}

#[test]
fn bad_input_of_kmedoids_is_refused_by_name() {
    let folder = Folder::new();
    let (good, wide) = (table(&folder, "good.npy", 6, 2), table(&folder, "wide.npy", 4, 3));
    let nan = folder.path("nan.npy");
    write_npy(&nan, array![[0.0_f32, f32::NAN], [1.0, 0.0]].view()).unwrap();
    let negative = folder.path("negative.npy");
    write_npy(&negative, array![[0, -1, 2], [1, 0, 2], [1, 2, 0]].view()).unwrap();
    let [few, twice, far, half] =
        [("few", "1\n"), ("twice", "1\n1\n"), ("far", "1\n6\n"), ("half", "1\n2.5\n")]
            .map(|(name, rows)| folder.file(&format!("{name}.csv"), rows));
    let before = names_in(&folder);
    let [good, wide, nan, negative] = [&good, &wide, &nan, &negative].map(|path| as_str(path));
    let [few, twice, far, half] = [&few, &twice, &far, &half].map(|path| as_str(path));
    let out = folder.path("out.npy");
    let out = as_str(&out);
    for (arguments, name) in [
        (vec![good, "-k", "0"], "-k: expected 1 to 6"),
        (vec![good, "-k", "7", "--labels", out], "-k: expected 1 to 6"),
        (vec![good, "-k", "-1"], "--n-clusters"),
        (vec![good], "--n-clusters"),
        (vec![good, "-k", "1", "--method", "fastermsc"], "-k: expected at least 2"),
        (vec![good, "-k", "2", "--method", "pamsil"], "--method"),
        (vec![good, "-k", "2", "--metric", "nearest"], "--metric"),
        (vec![good, "-k", "2", "--metric", "inner_product"], "--metric"),
        (vec![good, "-k", "2", "--metric", "seuclidean"], "--variances"),
        (vec![good, "-k", "2", "--metric", "minkowski", "--p", "-1"], "--p"),
        (vec![good, "-k", "2", "--precomputed", "--metric", "cosine"], "--precomputed"),
        (vec![good, "-k", "2", "--precomputed"], "INPUT: expected a square matrix"),
        (vec![wide, "-k", "2", "--precomputed", "--medoids", out], "INPUT: expected a square matrix"),
        (vec![nan, "-k", "1", "--precomputed"], "INPUT[0, 1]: expected a finite number"),
        (vec![nan, "-k", "1"], "INPUT"),
        (vec![negative, "-k", "2", "--precomputed", "--method", "pammedsil"], "INPUT[0, 1]"),
        (vec![good, "-k", "2", "--init", "first.csv"], "--init: expected random, build"),
        (vec![good, "-k", "2", "--init", few], "--init: expected 2 objects"),
        (vec![good, "-k", "2", "--init", twice], "--init: expected distinct"),
        (vec![good, "-k", "2", "--init", far], "--init: expected objects below 6"),
        (vec![good, "-k", "2", "--init", half], "--init: expected whole row numbers"),
        (vec![good, "-k", "2", "--samples", "3"], "--samples: expected --method clara"),
        (vec![good, "-k", "2", "--fewest", "2"], "--fewest: expected --method dynmsc"),
        (vec![good, "-k", "2", "--method", "pam", "--sample-size", "3"], "--sample-size: expected --method"),
        (vec![good, "-k", "2", "--method", "clara", "--samples", "0"], "--samples: expected at least 1"),
        (vec![good, "-k", "2", "--method", "clara", "--sample-size", "1"], "--sample-size: expected 2"),
        (vec![good, "-k", "2", "--method", "onebatch", "--sample-size", "7"], "--sample-size: expected 1"),
        (vec![good, "-k", "2", "--method", "clarans", "--searches", "0"], "--searches: expected at least 1"),
        (vec![good, "-k", "2", "--method", "dynmsc", "--fewest", "3"], "--fewest: expected 2 to 2"),
        (vec!["missing.npy", "-k", "1"], "INPUT missing.npy"),
        (vec![good, "-k", "1", "--labels", "l.txt"], "--labels"),
        (vec![good, "-k", "1", "--labels", "-", "--json"], "--labels"),
        (vec![good, "-k", "1", "--medoids", good], "--medoids"),
        (vec![good, "-k", "1", "--medoids", out, "--labels", out], "--medoids"),
    ] {
        refused(&arguments, &run(&[&["kmedoids"][..], &arguments].concat()), name);
        assert_eq!(names_in(&folder), before, "{arguments:?} wrote something");
    }
}

#[test]
fn integers_that_f64_would_round_are_refused() {
    let folder = Folder::new();
    let (path, large) = (folder.path("x.npy"), (1_i64 << 53) + 1);
    write_npy(&path, array![[0_i64, large], [large - 1, 0]].view()).unwrap();
    for extra in
        [&["--precomputed"][..], &["--metric", "hamming"], &["--method", "onebatch", "--sample-size", "1"]]
    {
        let output = run(&[&["kmedoids", as_str(&path), "-k", "1"], extra].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        let got = "got 9007199254740993 in row 0, column 1\n";
        assert!(
            message.contains("INPUT: expected integers that f64 holds") && message.ends_with(got),
            "{message}"
        );
    }
}
