//! Who may know whom, read from the sources. Each rule is a function over text, so that planted violations show that
//! it can fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

const LONGEST_FILE: usize = 500;

/// Files that may be longer, with the reason.
const LONGER_FILES: [(&str, &str); 0] = [];

/// Folders whose paths in the documents must exist.
const FOLDERS: [&str; 12] = [
    "src", "crates", "shaders", "tests", "benches", "examples", "scripts", "data", "docs", "python", ".ci",
    ".config",
];

/// A path as the source names it, use trees expanded: `use a::{b, c::D}` is `a::b` and `a::c::D`.
#[derive(Debug, PartialEq, Eq)]
struct NamedPath {
    segments: Vec<String>,
    line: usize,
}

impl NamedPath {
    /// The modules that the path goes through, without `crate`, `super` and `self`: all up to the first type. A lone
    /// word is a variable, not a module.
    fn modules(&self) -> impl Iterator<Item = &str> {
        let from = if self.segments.len() > 1 { 0 } else { 1 };
        self.segments[from..]
            .iter()
            .map(String::as_str)
            .skip_while(|segment| matches!(*segment, "crate" | "super" | "self"))
            .take_while(|segment| !segment.starts_with(char::is_uppercase))
    }

    /// The module directly below the crate's root, where the path starts there.
    fn module_below_root(&self) -> Option<&str> {
        if self.segments.first()? == "crate" { self.segments.get(1).map(String::as_str) } else { None }
    }

    fn report(&self) -> String {
        format!("line {}: {}", self.line, self.segments.join("::"))
    }
}

/// Tokens with their lines; comments are gone, strings are one token each and name nothing.
fn flatten(stream: TokenStream, tokens: &mut Vec<(String, usize)>) {
    let mut half_of_colons = false;
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    _ => ("(", ")"),
                };
                tokens.push((open.to_owned(), line));
                flatten(group.stream(), tokens);
                tokens.push((close.to_owned(), line));
            }
            TokenTree::Ident(name) => tokens.push((name.to_string(), line)),
            TokenTree::Punct(mark) if half_of_colons => {
                half_of_colons = false;
                tokens.push((format!(":{}", mark.as_char()), line));
            }
            TokenTree::Punct(mark) if mark.as_char() == ':' && mark.spacing() == Spacing::Joint => {
                half_of_colons = true;
            }
            TokenTree::Punct(mark) => tokens.push((mark.as_char().to_string(), line)),
            TokenTree::Literal(_) => tokens.push(("\"\"".to_owned(), line)),
        }
    }
}

fn named_paths(text: &str) -> Vec<NamedPath> {
    let mut tokens = Vec::new();
    flatten(text.parse().expect("sources must be Rust"), &mut tokens);
    let mut paths = Vec::new();
    let mut position = 0;
    while position < tokens.len() {
        position = read_path(&tokens, position, &[], &mut paths);
    }
    paths
}

/// Reads the path or use tree at `position`, below `prefix`, and returns the position after it.
fn read_path(
    tokens: &[(String, usize)],
    mut position: usize,
    prefix: &[String],
    paths: &mut Vec<NamedPath>,
) -> usize {
    let is_word = |at: usize| {
        tokens
            .get(at)
            .is_some_and(|(text, _)| text.starts_with(|first: char| first.is_alphabetic() || first == '_'))
    };
    let is = |at: usize, mark: &str| tokens.get(at).is_some_and(|(text, _)| text == mark);
    if !is_word(position) {
        return position + 1;
    }
    let line = tokens[position].1;
    let mut segments = [prefix, &[tokens[position].0.clone()]].concat();
    position += 1;
    while is(position, "::") && is_word(position + 1) {
        segments.push(tokens[position + 1].0.clone());
        position += 2;
    }
    if is(position, "::") && is(position + 1, "{") {
        position += 2;
        while position < tokens.len() && !is(position, "}") {
            position = read_path(tokens, position, &segments, paths);
        }
        return position + 1;
    }
    paths.push(NamedPath { segments, line });
    position
}

/// Folders with a `reference.rs` are workload slices; device and tile lie below them.
pub(crate) fn slices(files: &[(String, String)]) -> BTreeSet<String> {
    let folder = |path: &str| path.strip_prefix("src/")?.strip_suffix("/reference.rs").map(str::to_owned);
    files
        .iter()
        .filter_map(|(path, _)| folder(path))
        .filter(|name| name != "device" && name != "tile")
        .collect()
}

/// Import rules of one file; `path` is relative to the repository, with `/`.
fn import_violations(path: &str, text: &str, slices: &BTreeSet<String>) -> Vec<String> {
    let in_kernel = path.starts_with("src/kernel/");
    let in_device = path.starts_with("src/device/") || path == "src/device.rs";
    let in_tile = path.starts_with("src/tile/");
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let mut violations = Vec::new();
    for named in named_paths(text) {
        let mut complain = |rule: &str| violations.push(format!("{path}, {}: {rule}", named.report()));
        // Callers of `Device::from_wgpu` get the wgpu that it speaks from the crate's root.
        let handed_out = path == "src/lib.rs" && named.segments == ["device", "wgpu"];
        if !in_device && !handed_out && named.segments.iter().any(|segment| segment == "wgpu") {
            complain("only src/device knows wgpu");
        }
        if file_name == "reference.rs" && !in_device {
            let forbidden = ["plan", "device", "tile", "cpu", "gpu"];
            if named.modules().any(|module| forbidden.contains(&module)) {
                complain("a reference is written from the formula alone");
            }
        }
        if file_name == "plan.rs" && !in_device {
            let through_device = named.modules().any(|module| module == "device");
            let limits = named.segments.windows(2).any(|pair| pair[0] == "device" && pair[1] == "Limits");
            if through_device && !limits {
                complain("a plan is pure: of the device it knows Limits");
            }
        }
        let above = |module: &str| match module {
            "device" => in_kernel,
            "tile" => in_kernel || in_device,
            _ => slices.contains(module) || module == "cli",
        };
        if (in_kernel || in_device || in_tile) && named.module_below_root().is_some_and(above) {
            complain("a layer knows only those below it");
        }
        let in_library = path.starts_with("src/") && !path.starts_with("src/cli/");
        if in_library && named.segments[0].starts_with("tilefold_") {
            complain("the command alone uses crates/");
        }
        // A lone word is a variable or a field.
        let is_library = named.segments.len() > 1 && named.segments[0] == "tilefold";
        if path.starts_with("crates/") && is_library {
            complain("crates/ knows nothing of the library");
        }
        let in_slice = path.strip_prefix("src/").and_then(|rest| rest.split_once('/'));
        let in_slice = in_slice.is_some_and(|(folder, _)| slices.contains(folder));
        if in_slice && matches!(named.module_below_root(), Some("measure" | "shaders" | "cli")) {
            complain("a slice knows nothing of what measures, lists or calls it");
        }
        let is_made = |pair: &[String]| pair[0] == "Array2" && matches!(&*pair[1], "zeros" | "from_elem");
        if in_slice && file_name != "tests.rs" && named.segments.windows(2).any(is_made) {
            complain("src/memory.rs makes the matrices of a slice: one that is too large is an error");
        }
    }
    violations
}

fn length_violation(path: &str, lines: usize, longer: &[(&str, &str)]) -> Option<String> {
    let excused = longer.iter().any(|(name, reason)| *name == path && !reason.is_empty());
    match (lines > LONGEST_FILE, excused) {
        (true, false) => Some(format!("{path}: {lines} lines, {LONGEST_FILE} are allowed")),
        (false, true) => Some(format!("{path}: {lines} lines need no exception any more")),
        _ => None,
    }
}

/// Words of a document that are paths of this repository. Words with a placeholder are not.
fn paths_in(document: &str) -> Vec<&str> {
    let placeholder = |word: &&str| !["<", "*", "$", "...", "://"].iter().any(|mark| word.contains(mark));
    let marks = ['`', '(', ')', '[', ']', '"', '\'', ',', ';', ':', '=', '#'];
    let words = document.split_whitespace().filter(placeholder).flat_map(|word| word.split(marks));
    words
        .map(|word| word.trim_end_matches(['.', '/']))
        .filter(|word| match word.split_once('/') {
            Some((folder, _)) => FOLDERS.contains(&folder),
            None => word.len() > 3 && word.ends_with(".md"),
        })
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// (path with `/`, text) of all files below `folder` whose names end in one of `endings`, in order.
pub(crate) fn files_below(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                found.push((relative(&path), text));
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("below the repository");
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[track_caller]
pub(crate) fn none_of(violations: &[String]) {
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn sources_keep_the_import_rules() {
    let mut files = files_below("src", &[".rs"]);
    assert!(files.len() > 3, "the sources were not found");
    let slices = slices(&files);
    files.extend(files_below("crates", &[".rs"]));
    let check = |(path, text): &(String, String)| import_violations(path, text, &slices);
    none_of(&files.iter().flat_map(check).collect::<Vec<_>>());
}

#[test]
fn files_are_short() {
    let mut violations = Vec::new();
    let mut seen = BTreeSet::new();
    for folder in ["src", "crates", "shaders", "tests", "benches", "python"] {
        for (path, text) in files_below(folder, &[".rs", ".wgsl", ".py"]) {
            violations.extend(length_violation(&path, text.lines().count(), &LONGER_FILES));
            seen.insert(path);
        }
    }
    assert!(seen.contains("tests/architecture.rs"), "the sources were not found");
    violations.extend(
        LONGER_FILES
            .iter()
            .filter(|(path, _)| !seen.contains(*path))
            .map(|(path, _)| format!("{path}: no such file")),
    );
    none_of(&violations);
}

#[test]
fn arrays_of_python_come_in_one_way() {
    let files = files_below("python/src", &[".rs"]);
    let home = "python/src/layout.rs";
    assert!(files.iter().any(|(path, _)| path == home), "the sources were not found");
    // What holds an array without the check of its layout.
    let unchecked = ["PyReadonlyArray", "try_readonly", "try_readwrite", ".readonly()", ".readwrite()"];
    let violations: Vec<_> = files
        .iter()
        .filter(|(path, _)| path != home)
        .flat_map(|(path, text)| {
            let found = unchecked.iter().filter(|word| text.contains(**word));
            found.map(move |word| format!("{path}: {word} belongs in {home}"))
        })
        .collect();
    none_of(&violations);
}

#[test]
fn documents_name_paths_that_exist() {
    let documents = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md"];
    let pages = ["adapters", "command", "limits", "paths", "speed"].map(|page| format!("docs/{page}.md"));
    let documents = documents.map(str::to_owned).into_iter().chain(pages);
    let (mut checked, mut violations) = (0, Vec::new());
    for document in documents {
        // Whether a document must be there is cargo's and the reader's business; what it names must be.
        let document_path = root().join(&document);
        let Ok(text) = fs::read_to_string(&document_path) else { continue };
        let folder = document_path.parent().expect("a file has a folder");
        for path in paths_in(&text) {
            checked += 1;
            // Prose names paths from the root, a link from the document's own folder.
            if !root().join(path).exists() && !folder.join(path).exists() {
                violations.push(format!("{document}: {path} does not exist"));
            }
        }
    }
    assert!(checked > 3, "the documents were not found");
    none_of(&violations);
}

/// Whether the planted text breaks a rule in this file, in a crate with the slice `kmeans`.
#[track_caller]
fn planted(path: &str, text: &str, expected: usize) {
    let violations = import_violations(path, text, &BTreeSet::from(["kmeans".to_owned()]));
    assert_eq!(violations.len(), expected, "{path}: {text}: {violations:?}");
}

#[test]
fn planted_imports_are_caught() {
    planted("src/kmeans/gpu/mod.rs", "fn f(buffer: &wgpu::Buffer) {}", 1);
    planted("src/error.rs", "use wgpu as graphics;", 1);
    planted("src/lib.rs", "use ::wgpu::{Buffer, Queue};", 2);
    planted("src/kmeans/reference.rs", "use crate::device::Device;", 1);
    planted("src/kmeans/reference.rs", "use super::{params::Params, plan, cpu::run};", 2);
    planted("src/kmeans/reference.rs", "fn f() { crate::kmeans::gpu::run(); }", 1);
    planted("src/kmeans/reference.rs", "use crate::{error::Error, tile::{fold, Shape}};", 2);
    planted("src/kmeans/gpu/plan.rs", "use crate::device::Device;", 1);
    planted("src/kmeans/gpu/plan.rs", "use crate::device::{Limits, Buffer};", 1);
    planted("src/kmeans/gpu/plan.rs", "use crate::{device, error};", 1);
    planted("src/kmeans/gpu/plan.rs", "use wgpu::Limits;", 1);
    planted("src/tile/choice/shape.rs", "use crate::kmeans::Fit;", 1);
    planted("src/device/mod.rs", "use crate::tile::Shape; use crate::cli::main;", 2);
    planted("src/kernel/mod.rs", "use crate::tile::Shape; use crate::device::Gpu;", 2);
    planted("src/kmeans/gpu/kernels.rs", "fn f() { crate::shaders::variant(); }", 1);
    planted("src/measure/mod.rs", "pub use tilefold_simulate::Trace;", 1);
    planted("crates/simulate/src/lib.rs", "use tilefold::{Device, Points};", 2);
    planted(
        "src/kmeans/model.rs",
        "fn f() { ndarray::Array2::zeros((2, 2)); Array2::from_elem((1, 1), 0); }",
        2,
    );
    planted("src/kmeans/mod.rs", "use crate::{cli::run_with, measure::on_gpu::large_bytes};", 2);
}

#[test]
fn honest_imports_pass() {
    planted("src/device/gpu/context.rs", "use wgpu::{Device, Queue}; use crate::error::Error;", 0);
    planted("src/kmeans/gpu/mod.rs", "use crate::device::Buffer; use super::plan::Plan; use crate::tile;", 0);
    planted(
        "src/kmeans/gpu/mod.rs",
        "// wgpu::Buffer\n/// [`wgpu::Queue`]\nconst NAME: &str = \"wgpu::Device\";",
        0,
    );
    planted("src/kmeans/reference.rs", "use super::params::Params; use crate::data::Points;", 0);
    planted("src/kmeans/reference.rs", "fn f(tile: &[f64]) { let plan = tile.len(); Device::cpu(); }", 0);
    planted("src/kmeans/gpu/plan.rs", "use crate::device::Limits; use crate::tile::plan::Tile;", 0);
    planted("src/kmeans/gpu/plan.rs", "use crate::{device::{Limits}, error::Error};", 0);
    planted("src/lib.rs", "pub use device::Device; pub fn from_wgpu() {}", 0);
    planted("src/tile/choice/shape.rs", "use crate::device::Limits;", 0);
    planted("src/shaders.rs", "use crate::{kmeans, measure};", 0);
    planted("src/kmeans/gpu/tests.rs", "fn f() { Array2::zeros((2, 2)); }", 0);
    planted("src/cli/lora/simulate.rs", "use tilefold_simulate::Trace; use crate::random::Stream;", 0);
    planted("crates/simulate/src/lib.rs", "use crate::trace::Trace; use tilefold_simulate::Trace;", 0);
}

#[test]
fn planted_lengths_are_caught() {
    assert!(length_violation("src/a.rs", LONGEST_FILE, &[]).is_none());
    assert!(length_violation("src/a.rs", LONGEST_FILE + 1, &[]).is_some());
    assert!(length_violation("src/a.rs", LONGEST_FILE + 1, &[("src/a.rs", "one table")]).is_none());
    assert!(length_violation("src/a.rs", LONGEST_FILE + 1, &[("src/a.rs", "")]).is_some());
    assert!(length_violation("src/a.rs", 10, &[("src/a.rs", "one table")]).is_some());
}

#[test]
fn paths_are_found_in_documents() {
    let text = "Run `scripts/test`, see [here](src/lib.rs#part), ARCHITECTURE.md and `src/<slice>/plan.rs`.\n    \
                tilefold kmeans data/digits.npy -k 10; `plan.rs`, shaders/*.wgsl, https://a.b/src/x, tests/support/.";
    assert_eq!(
        paths_in(text),
        ["scripts/test", "src/lib.rs", "ARCHITECTURE.md", "data/digits.npy", "tests/support"]
    );
}

#[test]
fn slices_are_the_folders_with_a_reference() {
    let files =
        ["src/kmeans/reference.rs", "src/kmeans/gpu/plan.rs", "src/data/mod.rs", "src/tile/reference.rs"];
    let files = files.map(|path| (path.to_owned(), String::new()));
    assert_eq!(slices(&files), BTreeSet::from(["kmeans".to_owned()]));
}
