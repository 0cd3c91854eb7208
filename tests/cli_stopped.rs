//! Commands that are killed, interrupted, or whose reader goes away.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::cli::{DIGITS, as_str, names_in, refused, run, succeed, table, text};
use crate::readers::Folder;
use crate::support::command::tilefold;

/// A command that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A fit long enough to be met in the middle.
fn long_fit(folder: &Folder) -> Vec<String> {
    let input = table(folder, "long.npy", 12_000, 12);
    let words =
        ["kmeans", as_str(&input), "-k", "96", "--tol", "0", "--n-init", "2", "--max-iter", "40", "-q"];
    words.map(str::to_owned).to_vec()
}

fn with<'a>(arguments: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

fn start(arguments: &[&str]) -> Running {
    let mut command = tilefold();
    command.args(arguments).args(["--device", "cpu"]).stderr(Stdio::piped()).stdout(Stdio::piped());
    Running(command.spawn().unwrap())
}

fn wait_for(path: &Path, fit: &mut Running) {
    let begin = Instant::now();
    while !path.exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "no checkpoint appeared");
        assert!(fit.0.try_wait().unwrap().is_none(), "the fit ended before it wrote a checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_killed_fit_resumes_to_the_same_bytes() {
    let folder = Folder::new();
    let fit = long_fit(&folder);
    let paths = ["whole.npy", "whole.model", "resumed.npy", "resumed.model"].map(|name| folder.path(name));
    let [labels, model, resumed_labels, resumed_model] = paths.each_ref().map(|path| as_str(path));
    let checkpoint = folder.path("checkpoint");
    let resumable =
        ["--labels", resumed_labels, "--model", resumed_model, "--checkpoint", as_str(&checkpoint)];
    let mut running = start(&with(&fit, &resumable));
    wait_for(&checkpoint, &mut running);
    running.0.kill().unwrap();
    let killed = !running.0.wait().unwrap().success();
    assert!(killed && !Path::new(resumed_labels).exists(), "the fit was not met in the middle");

    succeed(&with(&fit, &resumable));
    succeed(&with(&fit, &["--labels", labels, "--model", model]));
    assert!(std::fs::read(labels).unwrap() == std::fs::read(resumed_labels).unwrap());
    assert!(std::fs::read(model).unwrap() == std::fs::read(resumed_model).unwrap());
    let other = with(&fit, &["--checkpoint", as_str(&checkpoint), "--seed", "9"]);
    refused(&other, &run(&other), "checkpoint");
}

#[cfg(unix)]
#[test]
fn an_interrupted_fit_says_so_and_writes_nothing() {
    let folder = Folder::new();
    let fit = long_fit(&folder);
    let (checkpoint, labels) = (folder.path("checkpoint"), folder.path("labels.npy"));
    let mut running = start(&with(&fit, &["--checkpoint", as_str(&checkpoint), "--labels", as_str(&labels)]));
    wait_for(&checkpoint, &mut running);
    let process = running.0.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let status = running.0.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let mut message = String::new();
    std::io::Read::read_to_string(&mut running.0.stderr.take().unwrap(), &mut message).unwrap();
    assert!(message.contains("cancelled") && message.contains("goes on from"), "{message}");
    assert_eq!(names_in(&folder), ["checkpoint", "long.npy"]);
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_panic_and_a_full_one_is_a_failure() {
    let folder = Folder::new();
    let input = table(&folder, "x.npy", 60_000, 1);
    let mut running = start(&["kmeans", as_str(&input), "-k", "2", "-q", "--labels", "-"]);
    drop(running.0.stdout.take());
    let status = running.0.wait().unwrap();
    let mut message = String::new();
    std::io::Read::read_to_string(&mut running.0.stderr.take().unwrap(), &mut message).unwrap();
    assert!(status.success() && message.is_empty(), "{status}: {message}");

    let full = Path::new("/dev/full");
    if full.exists() {
        let out = folder.path("labels.npy");
        let mut command = tilefold();
        command.args(["kmeans", DIGITS, "-k", "2", "--device", "cpu", "--json", "--labels", as_str(&out)]);
        let full = std::fs::OpenOptions::new().write(true).open(full).unwrap();
        let output = command.stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert!(!out.exists(), "nothing appears when the result could not be told");
    }
}

/// A command's program and its first arguments.
#[cfg(unix)]
fn words_of(command: &std::process::Command) -> Vec<std::ffi::OsString> {
    std::iter::once(command.get_program()).chain(command.get_args()).map(ToOwned::to_owned).collect()
}

#[cfg(unix)]
#[test]
fn a_read_that_waits_for_a_pipe_ends_at_the_first_ctrl_c() {
    let folder = Folder::new();
    let (pipe, x, out) = (folder.path("pipe"), table(&folder, "x.npy", 8, 4), folder.path("out.npy"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (pipe, x, out) = (as_str(&pipe), as_str(&x), as_str(&out));
    let commands: [&[&str]; 5] = [
        &["predict", x, "--model", pipe, "--labels", out, "--device", "cpu"],
        &["compare", pipe, pipe],
        &["report", pipe, "--output", out],
        &["lora", "simulate", "--trace", pipe],
        &["lora", "simulate", "--lora-cost", pipe],
    ];
    for words in commands {
        let mut command = tilefold();
        command.args(words).stderr(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running(command.spawn().unwrap());
        // Long enough for the handler to be there; one that is not ends the process just as well.
        std::thread::sleep(Duration::from_millis(700));
        assert!(running.0.try_wait().unwrap().is_none(), "{words:?} did not wait");
        let process = running.0.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &process]).status().unwrap().success());
        let begin = Instant::now();
        while running.0.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < Duration::from_secs(5), "{words:?} did not hear Ctrl-C");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!Path::new(out).exists());
    }
}

#[cfg(unix)]
#[test]
fn endless_files_are_refused() {
    let folder = Folder::new();
    let x = table(&folder, "x.npy", 8, 4);
    let zeros = "/dev/zero";
    for words in [
        &["predict", as_str(&x), "--model", zeros, "--device", "cpu"][..],
        &["compare", zeros, zeros],
        &["lora", "simulate", "--trace", "/dev"],
    ] {
        refused(words, &run(words), "");
    }
}

#[cfg(unix)]
#[test]
fn a_file_beyond_the_limit_is_a_failed_write() {
    let folder = Folder::new();
    let (x, out) = (table(&folder, "x.npy", 4000, 8), folder.path("out.npy"));
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -f 8; exec \"$@\"", "sh"]).args(words_of(&tilefold()));
    limited.args(["distance", as_str(&x), "--metric", "euclidean", "--device", "cpu"]);
    limited.args(["--output", as_str(&out)]);
    let output = limited.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("too large"), "{}", text(&output.stderr));
    assert_eq!(names_in(&folder), ["x.npy"]);
}

/// The command as a user who may have so many threads in all. A limit holds for users other than root alone; without
/// setpriv, or in a sandbox, there is nothing to see. Without the runner, whose folder other users cannot enter: it brings
/// a loader of GPU drivers, and these commands need none.
#[cfg(target_os = "linux")]
fn with_threads(user: u32, most: usize, words: &[&str]) -> Option<std::process::Output> {
    let limited = |words: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args([&format!("--reuid={user}"), "--regid=65534", "--clear-groups"]);
        command
            .args(["prlimit", &format!("--nproc={most}"), env!("CARGO_BIN_EXE_tilefold")])
            .args(words)
            .output()
    };
    limited(&["--version"]).is_ok_and(|output| output.status.success()).then(|| limited(words).unwrap())
}

/// A folder that any user may write to, with a small table and a model of it.
#[cfg(target_os = "linux")]
fn open_folder() -> (Folder, std::path::PathBuf, std::path::PathBuf) {
    let folder = Folder::new();
    let (x, model) = (table(&folder, "x.npy", 100, 4), folder.path("model"));
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(x.parent().unwrap(), open).unwrap();
    succeed(&["kmeans", as_str(&x), "-k", "3", "--model", as_str(&model)]);
    (folder, x, model)
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_may_start_no_thread_says_so() {
    let (folder, x, model) = open_folder();
    let with_limit = |words: &[&str]| with_threads(65_534, 1, words);
    for words in [
        &["kmeans", as_str(&x), "-k", "3"][..],
        &["kmeans", as_str(&x), "-k", "3", "--threads", "3"],
        &["predict", as_str(&x), "--model", as_str(&model)],
        &["distance", as_str(&x), "--metric", "cosine", "-o", as_str(&folder.path("d.npy"))],
        &["neighbours", as_str(&x), "--metric", "cosine", "-k", "3"],
        &["kmedoids", as_str(&x), "-k", "3"],
        &["bench", "--quick"],
        &["verify"],
    ] {
        let words = [words, &["--device", "cpu"][..]].concat();
        let Some(output) = with_limit(&words) else { return };
        refused(&words, &output, "threads that");
    }
    let words = ["kmeans", as_str(&x), "-k", "3", "--device", "cpu:3"];
    refused(&words, &with_limit(&words).unwrap(), "threads that can be started");
}

/// One thread starts beside the first, and no more, however many cores there are. Where it belongs to `cpu:1` there is no
/// global pool at all, so that nothing may use it.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_may_start_fewer_threads_than_cores_works_with_those() {
    let (folder, x, model) = open_folder();
    let (x, model, out) = (as_str(&x), as_str(&model), folder.path("out.npy"));
    let adapter = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/lora/plain");
    let rows = table(&folder, "rows.npy", 2, 8);
    let routes = folder.file("routes.csv", "row,adapter\n1,0\n");
    let module = "model.layers.0.self_attn.q_proj";
    let tiny = |workload| ["bench", workload, "--n", "64", "--d", "16", "--k", "8", "--reps", "1"];
    for words in [
        &["kmeans", x, "-k", "3", "--n-init", "2"][..],
        &["kmeans", x, "-k", "3", "--init", "k-means-parallel", "--spherical"],
        &["predict", x, "--model", model, "--top", "2", "--top-out", as_str(&out)],
        &["distance", x, "--metric", "cosine", "-o", as_str(&out)],
        &["neighbours", x, "--metric", "cosine", "-k", "3"],
        &["neighbours", x, "--radius", "1", "--graph", as_str(&folder.path("g.npz"))],
        &["kmedoids", x, "-k", "3"],
        &["kmedoids", x, "-k", "3", "--init", "lab", "--method", "fastermsc"],
        &tiny("kmeans"),
        &tiny("distance"),
        &tiny("lora"),
        &tiny("gemm"),
        &["lora", "bench", "--rows", "4", "--hidden", "64", "--out", "64", "--repetitions", "1"],
        &[
            "lora",
            "apply",
            "--adapter",
            adapter,
            "--routes",
            as_str(&routes),
            "-x",
            as_str(&rows),
            "--module",
            module,
            "-o",
            as_str(&out),
        ],
        &["verify"],
        &["devices"],
    ] {
        let devices: &[&[&str]] =
            if words == ["devices"] { &[&[]] } else { &[&["--device", "cpu"], &["--device", "cpu:1"]] };
        for device in devices {
            let words = [words, device].concat();
            let Some(output) = with_threads(65_533, 2, &words) else { return };
            let message = text(&output.stderr);
            assert!(output.status.success() && !message.contains("panicked"), "{words:?}: {message}");
        }
    }
}
