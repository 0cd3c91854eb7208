//! `tilefold neighbours` as its users see it.

use std::io::Read;

use ndarray::array;
use serde_json::Value;
use tilefold::{Points, Table};

use crate::cli::{as_str, json, names_in, refused, run, succeed, table, text};
use crate::readers::Folder;
use crate::support::command::tilefold;

#[test]
fn help_text_is_the_snapshot() {
    let output = tilefold().args(["neighbours", "--help"]).env("COLUMNS", "100").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    insta::assert_snapshot!("help_neighbours", text(&output.stdout));
}

#[test]
fn neighbours_go_to_files() {
    let folder = Folder::new();
    let (points, queries) = (folder.file("p.csv", "0,0\n3,4\n0,1\n"), folder.file("q.csv", "0,0\n3,3\n"));
    let (indices, distances) = (folder.path("i.npy"), folder.path("d.csv"));
    let [points, queries, indices, distances] =
        [&points, &queries, &indices, &distances].map(|path| as_str(path));
    let found = || {
        let table = Table::open(indices).unwrap();
        let Points::U32(found) = table.points() else { panic!("indices are u32") };
        found.to_owned()
    };
    let output = succeed(&[
        "neighbours",
        points,
        "--queries",
        queries,
        "-k",
        "2",
        "-o",
        indices,
        "--distances",
        distances,
        "--json",
    ]);
    assert_eq!(found(), array![[0, 2], [1, 2]]);
    assert_eq!(std::fs::read_to_string(distances).unwrap(), "0.0,1.0\n1.0,3.605551275463989\n");
    let object = json(&output);
    for (key, expected) in [("points", 3), ("columns", 2), ("queries", 2), ("neighbours", 4)] {
        assert_eq!(object[key], Value::from(expected), "{key}");
    }
    assert_eq!((&object["metric"], &object["farthest"]), (&"euclidean".into(), &false.into()));
    succeed(&["neighbours", points, "-k", "1", "--without-self", "-o", indices]);
    assert_eq!(found(), array![[2], [2], [0]]);
    succeed(&["neighbours", points, "-k", "1", "--farthest", "--metric", "manhattan", "-o", indices]);
    assert_eq!(found(), array![[1], [0], [1]]);
    let variances = folder.file("v.csv", "100,0.0001\n");
    let scaled = ["neighbours", points, "-k", "1", "--without-self", "--metric", "seuclidean", "-o", indices];
    succeed(&[&scaled[..], &["--variances", as_str(&variances)]].concat());
    assert_eq!(found(), array![[2], [2], [0]]);
    succeed(&["neighbours", points, "-k", "1", "--without-self", "--periodic", "4,4", "-o", indices]);
    assert_eq!(found(), array![[1], [0], [0]]);
}

#[test]
fn graphs_are_archives_of_arrays() {
    let folder = Folder::new();
    let points = folder.file("p.csv", "0\n1\n5\n");
    let graph = folder.path("g.npz");
    let (points, graph) = (as_str(&points), as_str(&graph));
    succeed(&["neighbours", points, "-k", "1", "--without-self", "--symmetric", "--graph", graph]);
    let bytes = std::fs::read(graph).unwrap();
    assert_eq!(&bytes[..4], b"PK\x03\x04");
    // Stored, not compressed: the arrays stand in the file as they are.
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let integers = |values: &[i32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    assert!(holds(&integers(&[1, 0, 2, 1])) && holds(&integers(&[0, 1, 3, 4])), "indices and indptr");
    let values: Vec<u8> = [1.0_f64, 1.0, 4.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert!(holds(&values) && holds(b"csr") && holds(b"shape.npy"));
    succeed(&["neighbours", points, "--radius", "1", "--graph", graph]);
    let mut again = Vec::new();
    std::fs::File::open(graph).unwrap().read_to_end(&mut again).unwrap();
    assert_ne!(again, bytes);
}

#[test]
fn bad_input_of_neighbours_is_refused_by_name() {
    let folder = Folder::new();
    let (good, wide) = (table(&folder, "good.npy", 4, 2), table(&folder, "wide.npy", 4, 3));
    let zeros = folder.file("zeros.csv", "1,2\n0,0\n");
    let before = names_in(&folder);
    let [good, wide, zeros] = [&good, &wide, &zeros].map(|path| as_str(path));
    let out = folder.path("out.npy");
    let out = as_str(&out);
    for (arguments, name) in [
        (vec![good, "-k", "5", "-o", out], "-k: expected 1 to 4"),
        (vec![good, "-k", "0", "-o", out], "-k: expected 1 to 4"),
        (vec![good, "-k", "4", "--without-self", "-o", out], "-k: expected 1 to 3"),
        (vec![good, "-k", "-1"], "--count"),
        (vec![good], "--count"),
        (vec![good, "-k", "2", "--metric", "nearest"], "--metric"),
        (vec![good, "--queries", wide, "-k", "2"], "--queries: expected 2 columns"),
        (vec![zeros, "--metric", "cosine", "-k", "1"], "INPUT[1, "),
        (vec![good, "--queries", zeros, "--metric", "cosine", "-k", "1"], "--queries[1, "),
        (vec!["missing.npy", "-k", "1"], "INPUT missing.npy"),
        (vec![good, "-k", "1", "-o", "i.txt"], "--output"),
        (vec![good, "-k", "1", "-o", good], "--output"),
        (vec![good, "-k", "1", "--graph", "g.npy"], "--graph"),
        (vec![good, "--radius", "-1"], "--radius"),
        (vec![good, "--radius", "nan"], "--radius"),
        (vec![good, "--radius", "1", "-o", out], "--radius"),
        (vec![good, "--radius", "1", "-k", "1"], "--radius"),
        (vec![good, "-k", "1", "--beyond", "1"], "--beyond"),
        (vec![good, "--radius", "1", "--beyond", "2"], "--beyond: expected at most 1, the radius"),
        (vec![good, "--radius", "1", "--beyond", "nan"], "--beyond"),
        (vec![good, "-k", "1", "--periodic", "1"], "--periodic: expected 2 lengths"),
        (vec![good, "-k", "1", "--periodic", "1,x"], "--periodic"),
        (vec![good, "-k", "1", "--periodic", "1e9,0"], "--periodic[0, 1]"),
        (vec![good, "-k", "1", "--metric", "seuclidean"], "--variances: expected one variance per column"),
        (vec![good, "-k", "1", "--metric", "mahalanobis"], "--inverse-covariance: expected a square matrix"),
        (
            vec![good, "-k", "1", "--metric", "mahalanobis", "--inverse-covariance", wide],
            "--inverse-covariance",
        ),
        (vec![good, "-k", "1", "--metric", "minkowski", "--p", "0"], "--p: expected a finite number above 0"),
        (vec![good, "-k", "1", "--p", "3"], "--p: expected metric minkowski"),
        (vec![zeros, "-k", "1", "--metric", "kldivergence"], "INPUT[1, 0]"),
    ] {
        refused(&arguments, &run(&[&["neighbours"][..], &arguments].concat()), name);
        assert_eq!(names_in(&folder), before, "{arguments:?} wrote something");
    }
}
