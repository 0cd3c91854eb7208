//! Files that the command alone reads: routes, traces, measured costs and results.

use tilefold::cli::hooks::{read_points, read_routes, read_trace};
use tilefold::measure::record;

use crate::harness::{Parser, as_it_is};

const MIB: u64 = 1 << 20;

#[test]
fn routes() {
    let corpus = vec![
        ("a.csv", b"row,adapter,scale\n0,en,1\n# \"note\n3, de ,-0.5\n".to_vec()),
        ("b.csv", b"adapter,row\r\n\"en\",7\r\n1,0".to_vec()),
    ];
    let words = &["row", "adapter", "scale", "en", "# \"", "\"\""];
    let parser =
        Parser { name: "routes", corpus, words, bytes_per_byte: 32, more_bytes: MIB, mend: as_it_is };
    parser.run(read_routes, |_, _| {});
}

#[test]
fn traces() {
    let corpus = vec![
        (
            "a.csv",
            b"adapter,prompt_tokens,decode_steps,arrival_seconds,priority\n0,5,2,0.5,-1\n1,7,0,1e2,3\n"
                .to_vec(),
        ),
        (
            "b.csv",
            b"# \"by hand\nprompt_tokens, arrival_seconds,adapter,decode_steps\n5,2.5,1,0\n\n6,0,0,3"
                .to_vec(),
        ),
    ];
    let words = &["adapter", "arrival_seconds", "priority", "# \"", "1e-320"];
    let parser =
        Parser { name: "traces", corpus, words, bytes_per_byte: 32, more_bytes: MIB, mend: as_it_is };
    // A trace that is written and read again is the same.
    parser.run(read_trace, |path, text| {
        let copy = path.with_file_name("copy.csv");
        std::fs::write(&copy, &text).unwrap();
        // A trace without requests is no file that can be read.
        if text.lines().count() > 1 {
            assert_eq!(read_trace(&copy).unwrap(), text);
        }
    });
}

#[test]
fn measured_costs() {
    let text = "rows,segments,total_rank_rows,total_rank,seconds\n64,8,1024,128,4e-5\n# \"a comment\n1,1,16,16,2e-5\n";
    let corpus = vec![("a.csv", text.into())];
    let words = &["rows", "seconds", "# \"", "1e-5"];
    let parser =
        Parser { name: "measured_costs", corpus, words, bytes_per_byte: 32, more_bytes: MIB, mend: as_it_is };
    parser.run(read_points, |_, count| assert!(count < 1 << 18));
}

/// Results are read, written, read again, and made into a page.
#[test]
fn results() {
    let machine = r#""machine": {"cpu": "a", "threads": 2, "memory_bytes": 3, "os": "linux", "rustc": "1"}"#;
    let run = r#"{"workload": "kmeans", "library": "tilefold 0.1", "data": "blobs", "dtype": "f32", "n": 10, "d": 3, "k": 2,
        "seconds": {"wall": {"median": 0.5, "min": 0.4, "max": 0.6, "count": 3}, "kernel": 0.3, "stages": {"labels": 0.2}},
        "flops": 1e9, "bytes": 1e6, "gflops": 3.5, "fma_share": 0.5, "products": [1.0, 0.5], "equal_labels": 1.0}"#;
    let object = |kind: &str, runs: &str| {
        format!(
            r#"{{"tilefold": "0.1.0", "kind": "{kind}", "commit": "c", "date": "2026-01-31T12:00:00Z", {machine},
            "device": {{"name": "cpu", "backend": "cpu", "driver": "none"}},
            "roofs": {{"fma_flops_per_second": 1e11, "copy_bytes_per_second": 1e10, "write_bytes_per_second": 1e10,
            "launch_seconds": 1e-6}}, "runs": [{runs}]}}"#
        )
    };
    let tune = r#"{"workload": "nearest", "rows": 5, "columns": 6, "depth": 7, "candidate": "c", "measured_seconds": 0.1,
        "predicted_seconds": 0.2, "verified": true, "chosen": false}"#;
    let verify = r#"{"name": "labels", "cases": 4, "failure": null, "seconds": 0.1}"#;
    let corpus = vec![
        ("a.json", object("bench", run).into()),
        ("b.json", format!("[{}]", object("peers", &format!("{run},{run}"))).into()),
        ("c.json", object("tune", tune).into()),
        ("d.json", [object("verify", verify), object("bench", run)].join("\n").into()),
    ];
    let words = &[
        "\"runs\":",
        "\"kind\":",
        "\"seconds\":",
        "{\"wall\":{}}",
        "\"n\":",
        "null",
        "\"stages\":{\"a\":1}",
    ];
    // A list of numbers of one digit takes 32 bytes for two, and again as much while it grows.
    let parser =
        Parser { name: "results", corpus, words, bytes_per_byte: 256, more_bytes: MIB, mend: as_it_is };
    parser.run(record::read, |path, records| {
        let text = serde_json::to_string(&records).unwrap();
        let copy = path.with_file_name("copy.json");
        std::fs::write(&copy, &text).unwrap();
        assert_eq!(serde_json::to_string(&record::read(&copy).unwrap()).unwrap(), text);
        let page = tilefold_report::page(serde_json::to_value(&records).unwrap()).unwrap();
        assert!(page.contains("</html>"));
    });
}
