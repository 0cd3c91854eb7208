//! What does not fit the memory is an error with its bytes: no command ends by a signal, and none leaves a file behind.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::{as_str, names_in};
use crate::readers::Folder;
use crate::support::command::tilefold;

/// Address space of a command, in KiB: enough for small work.
const LIMIT_KIB: usize = 1 << 20;

/// The command under the limit.
fn limited() -> Command {
    let inner = tilefold();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {LIMIT_KIB} && exec \"$0\" \"$@\"")]);
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
