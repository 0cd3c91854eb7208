//! `tilefold predict`: labels of new rows under a saved model.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::args::{EXIT_CODES, Read, Run};
use super::failure::Failure;
use super::input;
use super::output::{self, ArrayFile};
use super::top::{Top, TopFiles};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::kmeans::Model;

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Predict {
    /// Rows to label, in the formats of kmeans.
    pub input: PathBuf,

    /// A model that kmeans saved.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,

    /// Where the label of each row goes: .npy (u32) or .csv, or - for stdout [default: - without --json].
    #[arg(long, value_name = "OUT")]
    pub labels: Option<PathBuf>,

    #[command(flatten)]
    pub top: Top,

    #[command(flatten)]
    pub read: Read,

    #[command(flatten)]
    pub run: Run,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Predict, cancel: &Cancel) -> Result<(), Failure> {
    let json = arguments.run.json;
    let to_stdout = output::is_stdout(arguments.labels.as_ref()) || (arguments.labels.is_none() && !json);
    if json && to_stdout {
        return Err(Failure::usage("--labels", "a file beside --json, which takes stdout", "-"));
    }
    let path = arguments.labels.as_ref().filter(|_| !to_stdout);
    output::check_distinct(
        &[("INPUT", Some(&arguments.input)), ("--model", Some(&arguments.model))],
        &[
            ("--labels", path),
            ("--top-out", arguments.top.top_out.as_ref()),
            ("--top-distances", arguments.top.top_distances.as_ref()),
        ],
    )?;
    let device = input::device(&arguments.run)?;
    let begin = Instant::now();
    let model = Model::load_with(&arguments.model, cancel).map_err(Failure::about("--model"))?;
    let table = input::table("INPUT", &arguments.input, &arguments.read)?;
    let read = begin.elapsed().as_secs_f64();
    let file = ArrayFile::create("--labels", path)?;
    let top = TopFiles::create(&arguments.top, model.n_clusters())?;

    let begin = Instant::now();
    let labelled = model.predict_with(&device, table.points(), cancel)?;
    let predict = begin.elapsed().as_secs_f64();
    let mut files = match top {
        Some(top) => top.write(&model, &device, table.points(), cancel)?,
        None => Vec::new(),
    };
    if cancel.is_cancelled() {
        return Err(Error::Cancelled.into());
    }
    if let Some(file) = file {
        files.push(file.write(labelled.labels.view())?);
    }
    output::flush(&mut files)?;
    if to_stdout {
        output::print(|stdout| labelled.labels.iter().try_for_each(|label| writeln!(stdout, "{label}")))?;
    }
    if json {
        let mut sizes = vec![0_u64; model.n_clusters()];
        labelled.labels.iter().for_each(|&label| sizes[label as usize] += 1);
        let object = json!({
            "rows": table.rows(),
            "columns": table.columns(),
            "n_clusters": model.n_clusters(),
            "device": labelled.device,
            "cluster_sizes": sizes,
            "screened": labelled.screened,
            "rechecked": labelled.rechecked,
            "seconds": { "read": read, "predict": predict },
        });
        output::print(|stdout| writeln!(stdout, "{object:#}"))?;
    }
    output::commit(files)
}
