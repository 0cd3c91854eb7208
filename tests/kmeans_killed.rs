//! Fits of the command that are killed at random times, again and again, and gone on with: labels, centroids, model and
//! history are those of undisturbed fits, byte for byte.
//!
//! `TILEFOLD_KILLS` says how often, 20 times unless it is set; `TILEFOLD_SEED` changes the times.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ndarray::Array1;
use serde_json::Value;
use tilefold::data::write_npy;

use crate::cli::{DIGITS, as_str, table};
use crate::readers::Folder;
use crate::support::cases::Draws;
use crate::support::command::tilefold;

/// Kills that one fit goes through at most before it is left alone.
const KILLS_OF_ONE_FIT: usize = 6;

/// One fit, under one `--max-iter` after the other.
struct Plan {
    arguments: Vec<String>,
    max_iter: &'static [&'static str],
}

/// What a fit leaves: three files, and the keys of its summary that belong to no device and no clock.
#[derive(PartialEq)]
struct Outcome {
    files: Vec<Vec<u8>>,
    summary: Value,
}

fn plans(folder: &Folder) -> Vec<Plan> {
    let plan = |arguments: &[&str], max_iter| Plan {
        arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        max_iter,
    };
    let (long, weights) = (table(folder, "long.npy", 3000, 8), folder.path("weights.npy"));
    write_npy(&weights, Array1::from_shape_fn(3000, |row| (row % 7) as f64 + 0.25).view()).unwrap();
    let (long, weights) = (as_str(&long), as_str(&weights));
    vec![
        plan(&[DIGITS, "-k", "10", "--init", "random", "--n-init", "3", "--seed", "1"], &["2", "9", "300"]),
        plan(&[long, "-k", "24", "--weights", weights, "--n-init", "2", "--tol", "0"], &["20"]),
        plan(&[DIGITS, "-k", "10", "--init", "random", "--n-init", "3", "--tol", "0"], &["300"]),
        plan(&[long, "-k", "16", "--spherical", "--tol", "0"], &["5", "30"]),
    ]
}

/// Where a start of a fit runs: what is killed on one device goes on on another.
fn devices() -> Vec<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let mut devices =
        vec![words(&["cpu"]), words(&["cpu", "--threads", "1"]), words(&["cpu", "--prune", "always"])];
    if cfg!(all(feature = "gpu", not(without_gpu))) {
        let selector = std::env::var("TILEFOLD_GPU").ok().filter(|text| !text.is_empty());
        devices.push(words(&[selector.as_deref().unwrap_or("gpu")]));
    }
    devices
}

/// A command that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(plan: &Plan, max_iter: &str, place: &Path, device: &[String], checkpoint: bool) -> Running {
    let mut command = tilefold();
    command
        .arg("kmeans")
        .args(&plan.arguments)
        .args(["--max-iter", max_iter, "--json", "--device"])
        .args(device);
    for (option, name) in [("--labels", "labels.npy"), ("--centroids", "centroids.npy"), ("--model", "model")]
    {
        command.arg(option).arg(place.join(name));
    }
    if checkpoint {
        command.arg("--checkpoint").arg(place.join("checkpoint"));
    }
    Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Waits for the end of a fit.
fn outcome(mut running: Running, place: &Path) -> Outcome {
    let read = |stream: &mut dyn std::io::Read| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let summary = read(&mut running.0.stdout.take().unwrap());
    let status = running.0.wait().unwrap();
    assert!(status.success(), "{status}: {}", read(&mut running.0.stderr.take().unwrap()));
    let mut summary: Value = serde_json::from_str(&summary).unwrap();
    for key in ["device", "seconds", "screened", "rechecked", "products"] {
        assert!(summary.as_object_mut().unwrap().remove(key).is_some());
    }
    let files = ["labels.npy", "centroids.npy", "model"].map(|name| std::fs::read(place.join(name)).unwrap());
    Outcome { files: files.to_vec(), summary }
}

/// Kills a fit at a random time within `patience`. Gives the fit back if it ended before.
fn kill(mut running: Running, patience: Duration) -> Option<Running> {
    let begin = Instant::now();
    while begin.elapsed() < patience {
        if running.0.try_wait().unwrap().is_some() {
            return Some(running);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    running.0.kill().unwrap();
    // It may have ended just before.
    if running.0.wait().unwrap().success() { Some(running) } else { None }
}

#[test]
fn killed_fits_end_with_the_bytes_of_undisturbed_ones() {
    let wanted = std::env::var("TILEFOLD_KILLS").ok().map_or(20, |text| text.parse().unwrap());
    let (folder, mut draws) = (Folder::new(), Draws::new(48));
    let devices = devices();
    let whole = |plan: Plan| {
        let place = folder.path("whole");
        std::fs::create_dir_all(&place).unwrap();
        let ends: Vec<Outcome> = plan
            .max_iter
            .iter()
            .map(|max_iter| outcome(start(&plan, max_iter, &place, &devices[0], false), &place))
            .collect();
        let begin = Instant::now();
        outcome(start(&plan, plan.max_iter[plan.max_iter.len() - 1], &place, &devices[0], true), &place);
        std::fs::remove_dir_all(&place).unwrap();
        (plan, ends, begin.elapsed())
    };
    let plans: Vec<(Plan, Vec<Outcome>, Duration)> = plans(&folder).into_iter().map(whole).collect();
    let (mut kills, mut resumed) = (0, 0);
    for round in 0.. {
        if kills >= wanted {
            break;
        }
        let (plan, expected, time) = &plans[round % plans.len()];
        let place = folder.path(&format!("round{round}"));
        std::fs::create_dir(&place).unwrap();
        let mut left = KILLS_OF_ONE_FIT;
        for (max_iter, expected) in plan.max_iter.iter().zip(expected) {
            let ended = loop {
                let stands = place.join("checkpoint").exists();
                let device = &devices[draws.below(devices.len())];
                let running = start(plan, max_iter, &place, device, true);
                if left == 0 {
                    break running;
                }
                match kill(running, time.mul_f64(1.1 * draws.unit())) {
                    Some(ended) => break ended,
                    None => {
                        (kills, left) = (kills + 1, left - 1);
                        resumed += usize::from(stands);
                    }
                }
            };
            let ended = outcome(ended, &place);
            let what = format!("{:?} under {max_iter}, round {round}", plan.arguments);
            assert_eq!(ended.summary, expected.summary, "{what}");
            assert!(ended == *expected, "{what}: other files");
        }
        std::fs::remove_dir_all(&place).unwrap();
    }
    println!("{kills} kills, {resumed} of them of fits that had gone on from a file");
    assert!(resumed > 0, "no fit was killed after it had gone on from a file");
}
