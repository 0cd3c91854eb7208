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
