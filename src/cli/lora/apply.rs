//! `tilefold lora apply`: the updates of one module for the rows of a file, each row with its own adapters.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use half::f16;
use ndarray::{Array2, ArrayView2, s};
use serde_json::{Value, json};

use super::routes::Listed;
use super::slots::Slots;
use crate::cancel::Cancel;
use crate::cli::args::{EXIT_CODES, Read, Run};
use crate::cli::failure::Failure;
use crate::cli::summary::{grouped, plural};
use crate::cli::{input, output};
use crate::data::{AtomicFile, ElementType, NpyElement, NpyRowWriter, Points, Table};
use crate::device::Device;
use crate::error::Result;
use crate::lora::{Factors, Scalar, apply};
use crate::memory::{self, area};

/// Elements of x and y that are worked on between two looks at the cancel token.
const BLOCK_ELEMENTS: usize = 1 << 26;

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Apply {
    /// Folders of adapters, in the formats of inspect; routes name them by position, from 0, or by the last part of
    /// the path.
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    pub adapter: Vec<PathBuf>,

    /// Which adapters each row goes through: CSV with the columns row, adapter and, if wanted, scale, one route per
    /// line. Rows without a line stay as they are; several lines for a row add up in their order.
    #[arg(long, value_name = "routes.csv")]
    pub routes: PathBuf,

    /// What comes into the module, one row each: .npy, f32 or f16.
    #[arg(short, value_name = "X.npy")]
    pub x: PathBuf,

    /// What the updates are added to: .npy, f32 or f16 [default: zeros in the type of X].
    #[arg(short, value_name = "Y.npy")]
    pub y: Option<PathBuf>,

    /// The module whose updates are applied: model.layers.0.self_attn.q_proj, say.
    #[arg(long, value_name = "NAME")]
    pub module: String,

    /// Where the sums go, in the type of Y.
    #[arg(short, long, value_name = "OUT.npy")]
    pub output: PathBuf,

    #[command(flatten)]
    pub run: Run,
}

/// What is known of the work before it begins.
struct Job<'a> {
    device: &'a Device,
    /// Who applied blocks, in words and in this order.
    ran_on: RefCell<Vec<String>>,
    cancel: &'a Cancel,
    listed: &'a Listed,
    slots: &'a Slots,
    outputs: usize,
    block_elements: usize,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Apply, cancel: &Cancel) -> std::result::Result<(), Failure> {
    let inputs =
        [("--routes", Some(&arguments.routes)), ("-x", Some(&arguments.x)), ("-y", arguments.y.as_ref())];
    output::check_distinct(&inputs, &[("--output", Some(&arguments.output))])?;
    let device = input::device(&arguments.run)?;
    let begin = Instant::now();
    let x = activations("-x", &arguments.x)?;
    let y = arguments.y.as_ref().map(|path| activations("-y", path)).transpose()?;
    let slots = Slots::read(&arguments.adapter, &arguments.module, x.columns())?;
    let outputs = slots.outputs(&arguments.module, x.columns())?;
    if let Some(y) = &y
        && (y.rows(), y.columns()) != (x.rows(), outputs)
    {
        let expected = format!("{} x {outputs}, the rows of -x and the outputs of the module", x.rows());
        return Err(Failure::usage("-y", &expected, format!("{} x {}", y.rows(), y.columns())));
    }
    let listed = Listed::read(&arguments.routes, &slots.names, x.rows(), cancel)
        .map_err(Failure::about("--routes"))?;
    let read = begin.elapsed().as_secs_f64();
    let file = output::create("--output", &arguments.output, "npy")?;
    slots.warn_of_absent(&arguments.module);

    let begin = Instant::now();
    let job = Job {
        device: &device,
        ran_on: RefCell::default(),
        cancel,
        listed: &listed,
        slots: &slots,
        outputs,
        block_elements: BLOCK_ELEMENTS,
    };
    let writer = match (x.points(), y.as_ref().map(Table::points)) {
        (Points::F32(x), None) => Writer::F32(job.write(file, x, None)?),
        (Points::F16(x), None) => Writer::F16(job.write(file, x, None)?),
        (Points::F32(x), Some(Points::F32(y))) => Writer::F32(job.write(file, x, Some(y))?),
        (Points::F16(x), Some(Points::F32(y))) => Writer::F32(job.write(file, x, Some(y))?),
        (Points::F32(x), Some(Points::F16(y))) => Writer::F16(job.write(file, x, Some(y))?),
        (Points::F16(x), Some(Points::F16(y))) => Writer::F16(job.write(file, x, Some(y))?),
        (x, _) => return Err(Failure::usage("-x", "f32 or f16", x.element_type().name())),
    };
    let seconds = [read, begin.elapsed().as_secs_f64()];
    let summary = Summary { arguments, x: &x, y_type: writer.element(), job: &job, seconds };
    if arguments.run.json {
        output::print(|stdout| writeln!(stdout, "{:#}", summary.as_json()))?;
    }
    writer.commit()?;
    if !arguments.run.json && !arguments.run.quiet {
        // Where stderr is closed there is nobody to tell.
        let _ = std::io::stderr().write_all(summary.as_text().as_bytes());
    }
    Ok(())
}

/// A table of f32 or f16.
fn activations(argument: &'static str, path: &Path) -> std::result::Result<Table, Failure> {
    let table = input::table(argument, path, &Read { columns: None, delimiter: None, header: None })?;
    match table.element_type() {
        ElementType::F32 | ElementType::F16 => Ok(table),
        other => {
            let argument = format!("{argument} {}", path.display());
            Err(Failure::usage(
                &argument,
                ".npy of f32 or f16",
                format!("{}: convert it to f32", other.name()),
            ))
        }
    }
}

impl Job<'_> {
    /// Applies the updates block by block; the file still waits for its name.
    fn write<X: Scalar, Y: Scalar + NpyElement>(
        &self,
        file: AtomicFile,
        x: ArrayView2<'_, X>,
        y: Option<ArrayView2<'_, Y>>,
    ) -> Result<NpyRowWriter<Y>> {
        let rows = x.nrows();
        let factors: Vec<&Factors> = self.slots.factors.iter().flatten().collect();
        let mut numbers = 0..;
        let slots: Vec<Option<u32>> =
            self.slots.factors.iter().map(|found| found.as_ref().and_then(|_| numbers.next())).collect();
        let mut writer = NpyRowWriter::new(file, rows, self.outputs)?;
        let block = (self.block_elements / (x.ncols() + self.outputs)).max(1);
        for first in (0..rows).step_by(block) {
            self.cancel.check()?;
            let range = first..rows.min(first + block);
            let routes = self.listed.of_rows(range.clone(), &slots)?;
            memory::ask("some rows of y", &[area::<Y>(range.len(), self.outputs)])?;
            let mut sums = match &y {
                Some(y) => y.slice(s![range.clone(), ..]).as_standard_layout().into_owned(),
                None => Array2::from_elem((range.len(), self.outputs), Y::narrow(0.0)),
            };
            let applied = apply(self.device, &factors, &routes, x.slice(s![range, ..]), sums.view_mut())?;
            let mut ran_on = self.ran_on.borrow_mut();
            ran_on.push(applied.device);
            ran_on.dedup();
            // Owned and in standard order, so it is one slice.
            writer.write_rows(sums.as_slice().unwrap_or_default())?;
        }
        self.cancel.check()?;
        Ok(writer)
    }

    /// The devices that applied blocks, in words.
    fn device(&self) -> String {
        self.ran_on.borrow().join(", then ")
    }
}

/// The output in the type of y.
enum Writer {
    F32(NpyRowWriter<f32>),
    F16(NpyRowWriter<f16>),
}

impl Writer {
    fn element(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::F16(_) => "f16",
        }
    }

    fn commit(self) -> Result<()> {
        match self {
            Self::F32(writer) => writer.commit(),
            Self::F16(writer) => writer.commit(),
        }
    }
}

/// What was done, in words and as JSON.
struct Summary<'a> {
    arguments: &'a Apply,
    x: &'a Table,
    y_type: &'static str,
    job: &'a Job<'a>,
    seconds: [f64; 2],
}

impl Summary<'_> {
    fn rows_without_adapter(&self) -> usize {
        self.x.rows() - self.job.listed.rows_with(|_| true)
    }

    fn as_json(&self) -> Value {
        let Job { slots, listed, .. } = self.job;
        let adapter = |slot: usize| {
            json!({
                "folder": self.arguments.adapter[slot].display().to_string(),
                "name": slots.names[slot],
                "rank": slots.factors[slot].as_ref().map(Factors::rank),
                "scale": slots.factors[slot].as_ref().map(Factors::scale),
                "rows": listed.rows_with(|other| other == slot),
            })
        };
        json!({
            "rows": self.x.rows(),
            "inputs": self.x.columns(),
            "outputs": self.job.outputs,
            "x_type": self.x.element_type().name(),
            "y_type": self.y_type,
            "module": self.arguments.module,
            "adapters": (0..slots.names.len()).map(adapter).collect::<Vec<Value>>(),
            "routes": listed.count(),
            "rows_without_adapter": self.rows_without_adapter(),
            "device": self.job.device(),
            "seconds": { "read": self.seconds[0], "apply": self.seconds[1] },
        })
    }

    fn as_text(&self) -> String {
        let Job { slots, listed, .. } = self.job;
        let rank = |factors: &Option<Factors>| match factors {
            Some(factors) => factors.rank().to_string(),
            None => "-".to_owned(),
        };
        let ranks: Vec<String> = slots.factors.iter().map(rank).collect();
        let [rows, inputs, outputs] =
            [self.x.rows(), self.x.columns(), self.job.outputs].map(|count| grouped(count as u64));
        let [routes, without] = [listed.count(), self.rows_without_adapter()];
        let (x_type, y_type) = (self.x.element_type().name(), self.y_type);
        let [read, apply] = self.seconds;
        let lines = [
            ("rows", format!("{rows}, {inputs} {x_type} to {outputs} {y_type}")),
            ("module", self.arguments.module.clone()),
            ("adapters", format!("{} of ranks {}", ranks.len(), ranks.join(" "))),
            (
                "routes",
                format!(
                    "{}, {} {} without an adapter",
                    grouped(routes as u64),
                    grouped(without as u64),
                    plural(without, "row")
                ),
            ),
            ("device", self.job.device()),
            ("seconds", format!("read {read:.3}, apply {apply:.3}")),
        ];
        lines.map(|(name, value)| format!("{name:<11} {value}\n")).concat()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use half::f16;

    use super::*;
    use crate::cli::failure::CANCELLED;
    use crate::data::write_npy;

    const MODULE: &str = "model.layers.0.self_attn.q_proj";

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        apply: Apply,
    }

    fn adapter() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lora/plain")
    }

    #[test]
    fn what_is_cancelled_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let [x, routes, out] = ["x.npy", "routes.csv", "out.npy"].map(|name| folder.path().join(name));
        write_npy(&x, Array2::<f32>::ones((2, 8)).view()).unwrap();
        std::fs::write(&routes, "row,adapter\n0,0\n").unwrap();
        let (adapter, module) = (adapter(), Path::new(MODULE));
        let words = ["apply", "--device", "cpu", "-q", "--module"].map(Path::new).into_iter().chain([module]);
        let words = words.chain([Path::new("--adapter"), &adapter, Path::new("--routes"), &routes]);
        let words = words.chain([Path::new("-x"), &x, Path::new("-o"), &out]);
        let arguments = Words::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).apply;
        let cancel = Cancel::new();
        cancel.cancel();
        assert_eq!(run(&arguments, &cancel).unwrap_err().code, CANCELLED);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        run(&arguments, &Cancel::new()).unwrap_or_else(|failure| panic!("{}", failure.message));
        assert!(out.exists());
    }

    #[test]
    fn blocks_of_rows_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let slots =
            Slots::read(&[adapter()], MODULE, 8).unwrap_or_else(|failure| panic!("{}", failure.message));
        let lines = folder.path().join("routes.csv");
        std::fs::write(&lines, "row,adapter,scale\n6,0,1\n0,0,2\n3,plain,-1\n6,0,0.5\n").unwrap();
        let listed = Listed::read(&lines, &slots.names, 7, &Cancel::new()).unwrap();
        let x = Array2::from_shape_fn((7, 8), |(row, column)| (row * 8 + column) as f32 / 7.0);
        // Columns lie one after the other, as a file in Fortran's order has them.
        let y = Array2::from_shape_fn((8, 7), |(column, row)| f16::from_f32((row + column) as f32));
        let y = y.reversed_axes();
        let files: Vec<Vec<u8>> = [1, 3 * 16, BLOCK_ELEMENTS]
            .into_iter()
            .map(|block_elements| {
                let job = Job {
                    device: &Device::cpu(),
                    ran_on: RefCell::default(),
                    cancel: &Cancel::new(),
                    listed: &listed,
                    slots: &slots,
                    outputs: 8,
                    block_elements,
                };
                let path = folder.path().join("out.npy");
                let file = AtomicFile::create(&path).unwrap();
                job.write(file, x.view(), Some(y.view())).unwrap().commit().unwrap();
                std::fs::read(path).unwrap()
            })
            .collect();
        assert!(files[0] == files[2] && files[1] == files[2]);
        assert_eq!(files[0].len(), 128 + 2 * 7 * 8);
    }
}
