//! `tilefold report`: every chart is on the page, nothing from a file is markup, nothing is loaded.

use serde_json::{Value, json};

use crate::cli::{as_str, run, succeed, text};
use crate::readers::Folder;
use crate::support::command::tilefold;

const HOSTILE: &str = "<script>alert('x')</script>\"&";

fn record(kind: &str, device: &str, runs: Value) -> Value {
    json!({
        "tilefold": "0.1.0", "commit": HOSTILE, "date": "2026-01-31T12:00:00Z", "kind": kind,
        "machine": { "cpu": format!("EPYC {HOSTILE}"), "threads": 2, "simd": "avx512", "os": "linux x86_64" },
        "device": { "name": device, "driver": HOSTILE, "is_software": device.contains("pipe") },
        "roofs": { "fma_flops_per_second": 2e11, "copy_bytes_per_second": 2e10, "write_bytes_per_second": 1e10,
                   "launch_seconds": 1e-5 },
        "runs": runs,
    })
}

fn fit(library: &str, data: &str, [n, d, k]: [u64; 3], seconds: f64) -> Value {
    json!({
        "workload": "kmeans", "library": library, "data": data, "dtype": "f32", "n": n, "d": d, "k": k, "iterations": 10,
        "mode": "fixed", "flops": 20 * n * d * k, "bytes": 40 * n * d, "gflops": 1e-9 * (20 * n * d * k) as f64 / seconds.max(1e-9),
        "fma_share": 0.5, "inertia": 123.5, "rechecked": 0.001, "products": [1.0, 0.6, 0.2],
        "verified": { "checked": 64, "of": n },
        "seconds": {
            "wall": { "median": seconds, "min": 0.9 * seconds, "max": 1.2 * seconds, "count": 5 },
            "stages": { "upload": 0.1 * seconds, "iterate": 0.9 * seconds },
        },
    })
}

/// Files of every kind, with hostile names.
fn fixtures(folder: &Folder) -> Vec<String> {
    let sizes = |axis: usize| {
        (1..=3_u64).map(move |power| {
            let mut shape = [1000, 64, 16];
            shape[axis] *= 4_u64.pow(power as u32);
            (shape, 1e-3 * 4_f64.powi(power as i32))
        })
    };
    let runs: Vec<Value> = (0..3)
        .flat_map(|axis| {
            sizes(axis).flat_map(|(shape, seconds)| {
                [HOSTILE, "uniform"].map(|data| fit("tilefold 0.1.0", data, shape, seconds))
            })
        })
        .collect();
    let peers = ["tilefold 0.1.0", "scikit-learn 1.9.1", HOSTILE]
        .map(|library| fit(library, "blobs", [100, 8, 4], 0.1));
    let candidate = |name: &str, measured: f64, chosen: bool| {
        json!({
            "workload": "gemm", "rows": 64, "columns": 64, "depth": 64, "candidate": name, "measured_seconds": measured,
            "predicted_seconds": 1.1 * measured, "verified": true, "chosen": chosen,
        })
    };
    let checks = json!([{ "name": HOSTILE, "cases": 3, "failure": HOSTILE, "seconds": 0.1 }]);
    let all = [
        ("bench.json", record("bench", "cpu (2 threads)", json!(runs))),
        ("soft.json", record("bench", &format!("llvmpipe {HOSTILE}"), json!(runs))),
        ("peers.json", record("peers", "cpu (2 threads)", json!(peers))),
        (
            "tune.json",
            record(
                "tune",
                "cpu (2 threads)",
                json!([candidate(HOSTILE, 1e-3, true), candidate("b", 9e-4, false)]),
            ),
        ),
        ("verify.json", record("verify", "cpu (2 threads)", checks)),
    ];
    all.iter().map(|(name, value)| as_str(&folder.file(name, value.to_string())).to_owned()).collect()
}

#[test]
fn help_text_is_the_snapshot() {
    let output = tilefold().args(["report", "--help"]).env("COLUMNS", "100").output().expect("a command");
    assert!(output.status.success() && output.stderr.is_empty());
    insta::assert_snapshot!("help_report", text(&output.stdout));
}

#[test]
fn all_charts_are_drawn_and_files_are_no_markup() {
    let folder = Folder::new();
    let out = folder.path("report.html");
    let files = fixtures(&folder);
    let mut arguments = vec!["report", "-o", as_str(&out)];
    arguments.extend(files.iter().map(String::as_str));
    succeed(&arguments);
    let page = std::fs::read_to_string(&out).expect("a page");
    for id in [
        "chart-peers",
        "chart-roofline",
        "chart-scaling-n",
        "chart-scaling-d",
        "chart-scaling-k",
        "chart-stages",
        "chart-products",
        "chart-tuning",
        "table-peers",
        "table-devices",
        "table-accuracy",
        "table-tuning-0",
    ] {
        assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
    }
    assert!(!page.contains("<script") && !page.contains("alert('x')"), "text of a file became markup");
    assert!(page.contains("&lt;script&gt;") && page.contains("software"));
    // The namespace of SVG is a name, not an address that is loaded.
    let addresses = page.replace("http://www.w3.org/2000/svg", "");
    for loaded in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!addresses.contains(loaded), "{loaded}");
    }
    for broken in ["NaN", "inf\"", "inf<", "-inf"] {
        assert!(!page.contains(broken), "{broken}");
    }
    for axis in ["n", "d", "k"] {
        let chart = page.split(&format!("id=\"chart-scaling-{axis}\"")).nth(1).expect("a chart");
        let chart = chart.split("</svg>").next().expect("its end");
        assert!(chart.contains("uniform: 1.00"), "time grew as {axis} did");
    }
}

#[test]
fn few_results_give_a_page_too() {
    let folder = Folder::new();
    let out = folder.path("report.html");
    for (name, value) in [
        ("none.json", record("bench", "cpu", json!([]))),
        ("one.json", record("bench", "cpu", json!([fit("tilefold", "blobs", [10, 2, 3], 0.0)]))),
        ("bare.json", json!({ "tilefold": "0", "kind": "bench", "machine": {}, "device": {}, "runs": [{}] })),
        ("alone.json", record("peers", "cpu", json!([fit("tilefold", "blobs", [10, 2, 3], 0.1)]))),
    ] {
        let file = folder.file(name, value.to_string());
        succeed(&["report", as_str(&file), "-o", as_str(&out)]);
        let page = std::fs::read_to_string(&out).expect("a page");
        assert!(
            page.ends_with("</html>\n") && !page.contains("NaN") && !page.contains("inf"),
            "{name}: {page}"
        );
    }
}

#[test]
fn unusable_files_end_with_one_line_that_names_them() {
    let folder = Folder::new();
    let good = fixtures(&folder).remove(0);
    for (name, content) in [
        ("corrupt.json", "{\"kind\": "),
        ("empty.json", ""),
        ("foreign.json", "[1, 2]"),
        (
            "kind.json",
            "{\"tilefold\": \"1\", \"kind\": \"poem\", \"machine\": {}, \"device\": {}, \"runs\": []}",
        ),
        (
            "types.json",
            "{\"tilefold\": \"1\", \"kind\": \"bench\", \"machine\": {}, \"device\": {}, \"runs\": [{\"n\": \"x\"}]}",
        ),
    ] {
        let file = folder.file(name, content);
        let out = folder.path("never.html");
        let output = run(&["report", &good, as_str(&file), "-o", as_str(&out)]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(name) && message.lines().count() == 1 && !out.exists(), "{message}");
    }
    let missing = run(&["report", "missing.json", "-o", as_str(&folder.path("never.html"))]);
    assert!(missing.status.code() == Some(2) && text(&missing.stderr).contains("missing.json"));
    let over = run(&["report", &good, "-o", &good]);
    assert_eq!(over.status.code(), Some(2), "the page must not replace its input");
}

#[test]
fn results_that_say_a_key_twice_are_refused() {
    let folder = Folder::new();
    let before = record("bench", "cpu", json!([fit("tilefold", "x", [1000, 64, 16], 1e-3)])).to_string();
    assert!(before.contains("\"d\":64"), "{before}");
    let path = folder.file("twice.json", before.replacen("\"d\":64", "\"d\":64,\"d\":32", 1));
    let page = folder.path("page.html");
    let output = run(&["report", as_str(&path), "-o", as_str(&page)]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("twice.json") && message.contains("the key \"d\" twice"), "{message}");
}
