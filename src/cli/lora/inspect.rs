//! `tilefold lora inspect`: what an adapter's folder holds.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::folder::{self, Found};
use crate::cli::args::EXIT_CODES;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::summary::{grouped, plural};
use crate::data::storage::excerpt_of;
use crate::lora::{Factors, ModuleKind, PeftModule};
use crate::memory;

/// Most bytes of a module as a JSON value, without its name.
const JSON_BYTES: usize = 2048;

/// Longest name that is printed; control characters are escaped.
const LONGEST_NAME: usize = 200;

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Inspect {
    /// A folder that PEFT saved, or one of shards.json and shards.safetensors.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Lists every module; without it modules that differ only in a layer's number share a line.
    #[arg(long)]
    pub all: bool,

    /// Prints JSON, with every module.
    #[arg(long)]
    pub json: bool,

    /// Prints no warnings.
    #[arg(long, short)]
    pub quiet: bool,
}

/// What the table says of one module.
#[derive(Debug, Clone)]
struct Module {
    name: String,
    kind: &'static str,
    inputs: usize,
    outputs: usize,
    rank: usize,
    alpha: Option<f64>,
    scale: f32,
    types: String,
}

impl Module {
    fn of_peft(module: &PeftModule) -> Self {
        let kind = match module.kind {
            ModuleKind::Linear => "linear",
            ModuleKind::Embedding => "embedding",
            ModuleKind::Vera => "vera",
        };
        let [a, b] = module.precisions.map(|precision| precision.name());
        Self {
            name: module.name.clone(),
            kind,
            inputs: module.inputs,
            outputs: module.outputs,
            rank: module.rank,
            alpha: module.alpha,
            scale: module.scale,
            types: types(a, b),
        }
    }

    fn of_shards(name: &str, factors: &Factors) -> Self {
        let [a, b] = factors.precisions().map(|precision| precision.name());
        Self {
            name: name.to_owned(),
            kind: "shards",
            inputs: factors.inputs(),
            outputs: factors.outputs(),
            rank: factors.rank(),
            alpha: None,
            scale: factors.scale(),
            types: types(a, b),
        }
    }

    /// Elements of A and B, assembled.
    fn weights(&self) -> u64 {
        (self.rank * (self.inputs + self.outputs)) as u64
    }

    fn as_json(&self) -> Value {
        json!({
            "name": self.name,
            "kind": self.kind,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "rank": self.rank,
            "alpha": self.alpha,
            "scale": self.scale,
            "types": self.types,
        })
    }
}

fn types(a: &str, b: &str) -> String {
    if a == b { a.to_owned() } else { format!("{a}/{b}") }
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Inspect) -> Result<(), Failure> {
    let found = folder::read("DIR", &arguments.folder)?;
    let modules: Vec<Module> = match &found {
        Found::Peft(read) => read.modules.iter().map(Module::of_peft).collect(),
        Found::Shards(adapter) => {
            adapter.modules.iter().map(|(name, factors)| Module::of_shards(name, factors)).collect()
        }
    };
    let path = folder::tensor_file(&arguments.folder, &found);
    let file_bytes = std::fs::metadata(&path).map_or(0, |attributes| attributes.len());
    let weights: u64 = modules.iter().map(Module::weights).sum();
    if arguments.json {
        let names = modules.iter().map(|module| module.name.len() as u64).sum();
        memory::ask("the modules as JSON", &[memory::area::<[u8; JSON_BYTES]>(modules.len(), 1), names])?;
        let object = json!({
            "folder": arguments.folder.display().to_string(),
            "format": format_name(&found),
            "about": about_json(&found),
            "weights": weights,
            "file_bytes": file_bytes,
            "modules": modules.iter().map(Module::as_json).collect::<Vec<Value>>(),
        });
        return output::print(|stdout| writeln!(stdout, "{object:#}"));
    }
    output::print(|stdout| {
        writeln!(stdout, "folder      {}", arguments.folder.display())?;
        write_about(stdout, &found)?;
        let count = grouped(modules.len() as u64);
        writeln!(
            stdout,
            "modules     {count}, {} {} in A and B",
            grouped(weights),
            plural(usize::try_from(weights).unwrap_or(usize::MAX), "weight")
        )?;
        writeln!(stdout, "file        {} bytes\n", grouped(file_bytes))?;
        write_table(stdout, &modules, arguments.all)
    })
}

fn format_name(found: &Found) -> &'static str {
    match found {
        Found::Peft(_) => "peft",
        Found::Shards(_) => "shards",
    }
}

fn about_json(found: &Found) -> Value {
    let Found::Peft(read) = found else { return Value::Null };
    json!({
        "peft_type": read.peft_type,
        "base_model": read.base_model,
        "default_rank": read.default_rank,
        "default_alpha": read.default_alpha,
        "use_rslora": read.use_rslora,
        "tensors": read.tensor_count,
        "size_bytes": read.size_bytes,
        "base_weights": read.base_weights,
    })
}

fn write_about(stdout: &mut dyn Write, found: &Found) -> io::Result<()> {
    let Found::Peft(read) = found else {
        return writeln!(stdout, "type        index tables into shared shards (Mixture of Shards)");
    };
    let scale = match (read.default_alpha, read.use_rslora) {
        (None, _) => "scale within the weights",
        (Some(_), true) => "scale alpha / sqrt(rank)",
        (Some(_), false) => "scale alpha / rank",
    };
    writeln!(stdout, "type        {}, {scale}", read.peft_type)?;
    let base_model = read.base_model.as_deref().unwrap_or("not named");
    writeln!(stdout, "base model  {}", excerpt_of(base_model, LONGEST_NAME))?;
    let alpha = read.default_alpha.map_or(String::new(), |alpha| format!(", alpha {alpha}"));
    writeln!(stdout, "default     rank {}{alpha}", read.default_rank)?;
    let tensors = grouped(read.tensor_count as u64);
    writeln!(stdout, "tensors     {tensors}; factors of {} bytes", grouped(read.size_bytes))?;
    if !read.base_weights.is_empty() {
        let names = excerpt_of(&read.base_weights.join(", "), LONGEST_NAME);
        writeln!(stdout, "beside them {names}: of the base model, not read")?;
    }
    Ok(())
}

/// Modules that one line stands for.
struct Line<'a> {
    name: String,
    modules: Vec<&'a Module>,
}

/// One line for each module, or for each name with the numbers in it left open.
fn lines(modules: &[Module], all: bool) -> Vec<Line<'_>> {
    if all {
        let alone = |module| Line { name: shown(module), modules: vec![module] };
        return modules.iter().map(alone).collect();
    }
    let mut by_key: BTreeMap<_, Vec<&Module>> = BTreeMap::new();
    for module in modules {
        let key = (pattern(&module.name), module.kind, module.inputs, module.outputs);
        by_key.entry(key).or_default().push(module);
    }
    by_key
        .into_iter()
        .map(|((pattern, ..), modules)| {
            let name =
                if let [only] = modules[..] { shown(only) } else { excerpt_of(&pattern, LONGEST_NAME) };
            Line { name, modules }
        })
        .collect()
}

fn shown(module: &Module) -> String {
    excerpt_of(&module.name, LONGEST_NAME)
}

/// The name with `*` for each part that is a number: that of a layer or of an expert.
fn pattern(name: &str) -> String {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    name.split('.').map(|part| if is_number(part) { "*" } else { part }).collect::<Vec<_>>().join(".")
}

fn write_table(stdout: &mut dyn Write, modules: &[Module], all: bool) -> io::Result<()> {
    let lines = lines(modules, all);
    let width = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0).max("module".len());
    writeln!(
        stdout,
        "{:<width$}  count  kind        inputs  outputs     rank      alpha                   scale  types",
        "module"
    )?;
    for Line { name, modules } in &lines {
        let first = modules[0];
        let ranks = span(modules.iter().map(|module| module.rank as f64), |rank| rank.to_string());
        let alphas = modules.iter().filter_map(|module| module.alpha);
        let scales = modules.iter().map(|module| f64::from(module.scale));
        let mut types: Vec<&str> = modules.iter().map(|module| module.types.as_str()).collect();
        types.sort_unstable();
        types.dedup();
        writeln!(
            stdout,
            "{name:<width$} {:>6}  {:<9} {:>8} {:>8} {ranks:>8} {:>10} {:>23}  {}",
            modules.len(),
            first.kind,
            first.inputs,
            first.outputs,
            span(alphas, |alpha| alpha.to_string()),
            // The digits of an f32, not those of the f64 it was widened to.
            span(scales, |scale| (scale as f32).to_string()),
            types.join(",")
        )?;
    }
    Ok(())
}

/// The one value, or the smallest and the largest; `-` where there is none.
fn span(values: impl Iterator<Item = f64>, show: impl Fn(f64) -> String) -> String {
    let bounds = values.fold(None, |bounds: Option<(f64, f64)>, value| {
        let (least, most) = bounds.unwrap_or((value, value));
        Some((least.min(value), most.max(value)))
    });
    match bounds {
        None => "-".to_owned(),
        Some((least, most)) if least == most => show(least),
        Some((least, most)) => format!("{}..{}", show(least), show(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_differ_in_numbers_share_a_line() {
        let module = |name: &str, rank| Module {
            name: name.to_owned(),
            kind: "linear",
            inputs: 8,
            outputs: if name.ends_with("k") { 4 } else { 8 },
            rank,
            alpha: Some(16.0),
            scale: 2.0,
            types: "f16".to_owned(),
        };
        let modules: Vec<Module> = (0..32)
            .flat_map(|layer| ["q", "k"].map(|name| module(&format!("layers.{layer}.{name}"), 8 + layer)))
            .chain([module("lm_head.0x", 3)])
            .collect();
        let names = |all| -> Vec<String> { lines(&modules, all).into_iter().map(|line| line.name).collect() };
        assert_eq!(names(false), ["layers.*.k", "layers.*.q", "lm_head.0x"]);
        assert_eq!(names(true).len(), 65);
        let mut text = Vec::new();
        write_table(&mut text, &modules, false).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.lines().count() == 4 && text.contains("8..39"), "{text}");
    }

    #[test]
    fn spans_say_one_value_or_both_ends() {
        let show = |value: f64| value.to_string();
        let spans =
            [vec![], vec![2.0, 2.0], vec![3.0, 0.5, 1.0]].map(|values| span(values.into_iter(), show));
        assert_eq!(spans, ["-", "2", "0.5..3"]);
    }
}
