//! Who stands above whom, file by file: no circle of source files is large, and no layer imports from one above it.
//!
//! A file uses the file in which what it names is defined: imports and paths are followed through `pub use` and through
//! names of the crate's root. Handing a name on with `pub use` is no use, nor is what only tests name.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::architecture::{files_below, none_of, slices};

/// Most files that may need each other.
const LARGEST_CIRCLE: usize = 4;

type Path = Vec<String>;

/// What one file names.
#[derive(Default)]
struct Names {
    imports: Vec<Import>,
    /// Paths of two segments or more in code.
    paths: Vec<Path>,
}

struct Import {
    path: Path,
    /// Under which name the file has it.
    name: String,
    is_handed_on: bool,
}

impl Names {
    fn of(text: &str) -> Self {
        let mut names = Self::default();
        names.read(text.parse().expect("sources must be Rust"), 0);
        names
    }

    /// Reads items and expressions `depth` modules below the file's own.
    fn read(&mut self, stream: TokenStream, depth: usize) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        let (mut at, mut is_public) = (0, false);
        while at < trees.len() {
            let was_public = std::mem::take(&mut is_public);
            match &trees[at] {
                TokenTree::Punct(mark) if mark.as_char() == '#' && is_for_tests(trees.get(at + 1)) => {
                    at = end_of_item(&trees, at + 2);
                }
                TokenTree::Ident(word) if word == "pub" => {
                    is_public = true;
                    at += 1;
                    let is_restricted = matches!(trees.get(at), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
                    at += usize::from(is_restricted);
                }
                TokenTree::Ident(word) if word == "use" => {
                    let end = end_of_item(&trees, at + 1);
                    self.read_use(&trees[at + 1..end], &[], was_public, depth);
                    at = end;
                }
                TokenTree::Ident(word) if word == "mod" => {
                    at += 2;
                    if let Some(TokenTree::Group(group)) = trees.get(at) {
                        self.read(group.stream(), depth + 1);
                        at += 1;
                    }
                }
                TokenTree::Ident(_) => {
                    let (path, end) = read_path(&trees, at);
                    if path.len() > 1 {
                        self.paths.push(from_file(path, depth));
                    }
                    at = end;
                }
                TokenTree::Group(group) => {
                    self.read(group.stream(), depth);
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    /// Reads the trees of one use declaration below `prefix`.
    fn read_use(&mut self, trees: &[TokenTree], prefix: &[String], is_handed_on: bool, depth: usize) {
        for tree in trees.split(|tree| matches!(tree, TokenTree::Punct(mark) if mark.as_char() == ',')) {
            let start =
                tree.iter().position(|tree| !matches!(tree, TokenTree::Punct(_))).unwrap_or(tree.len());
            let (below, end) = read_path(tree, start);
            let mut path = [prefix, &below].concat();
            if let Some(group) = tree[end..].iter().find_map(|tree| match tree {
                TokenTree::Group(group) => Some(group),
                _ => None,
            }) {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                self.read_use(&inner, &path, is_handed_on, depth);
                continue;
            }
            if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            let alias = tree[end..].iter().rev().find_map(|tree| match tree {
                TokenTree::Ident(word) => Some(word.to_string()),
                _ => None,
            });
            let Some(name) = alias.or_else(|| path.last().cloned()) else { continue };
            self.imports.push(Import { path: from_file(path, depth), name, is_handed_on });
        }
    }
}

/// Whether an attribute's brackets say that what follows is for tests.
fn is_for_tests(brackets: Option<&TokenTree>) -> bool {
    let text = brackets.map(ToString::to_string).unwrap_or_default().replace(' ', "");
    text.starts_with("[cfg(test") || text.starts_with("[cfg(all(test")
}

/// The place behind the `;` or the braces that end an item.
fn end_of_item(trees: &[TokenTree], from: usize) -> usize {
    let is_end = |tree: &TokenTree| match tree {
        TokenTree::Punct(mark) => mark.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    // The braces of a use tree stand behind `::`, and a `;` behind them.
    let is_use = matches!(trees.get(from.wrapping_sub(1)), Some(TokenTree::Ident(word)) if word == "use");
    let ends = |tree: &TokenTree| is_end(tree) && !(is_use && matches!(tree, TokenTree::Group(_)));
    trees[from.min(trees.len())..].iter().position(ends).map_or(trees.len(), |at| from + at + 1)
}

/// The path that begins with the word at `at`, and the place behind it.
fn read_path(trees: &[TokenTree], mut at: usize) -> (Path, usize) {
    let is_colon = |at: usize| matches!(trees.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
    let mut path = Path::new();
    while let Some(TokenTree::Ident(word)) = trees.get(at) {
        path.push(word.to_string());
        at += 1;
        if !(is_colon(at) && is_colon(at + 1) && matches!(trees.get(at + 2), Some(TokenTree::Ident(_)))) {
            break;
        }
        at += 2;
    }
    (path, at)
}

/// A path as the file's own module would write it.
fn from_file(path: Path, depth: usize) -> Path {
    let supers = path.iter().take(depth).take_while(|segment| *segment == "super").count();
    path[supers..].to_vec()
}

/// All files, by the path of their module.
struct Crate {
    modules: BTreeMap<Path, (String, Names)>,
}

impl Crate {
    fn new(files: &[(String, String)]) -> Self {
        let sources = files.iter().filter(|(path, _)| !path.ends_with("tests.rs") && path != "src/main.rs");
        let modules = sources.map(|(path, text)| (module(path), (path.clone(), Names::of(text)))).collect();
        Self { modules }
    }

    /// A path from the crate's root, as a file means it; `None` for other crates and for local names.
    fn absolute(&self, module: &[String], path: &[String], steps: usize) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => return Some(rest.to_vec()),
            "self" => return Some([module, rest].concat()),
            "super" => {
                let above = &module[..module.len().checked_sub(1)?];
                return match rest.first().map(String::as_str) {
                    Some("super") => self.absolute(above, rest, steps),
                    _ => Some([above, rest].concat()),
                };
            }
            _ => {}
        }
        let child = [module, std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return Some([module, path].concat());
        }
        let import = self.modules[module].1.imports.iter().find(|import| import.name == *first)?;
        if steps == 0 || import.path.first() == Some(first) {
            return None;
        }
        Some([self.absolute(module, &import.path, steps - 1)?, rest.to_vec()].concat())
    }

    /// The file in which what a path names is defined; `None` for modules and for what other crates define.
    fn definition(&self, path: &[String], steps: usize) -> Option<&str> {
        let length = (0..=path.len()).rev().find(|&length| self.modules.contains_key(&path[..length]))?;
        let (module, below) = path.split_at(length);
        let (name, rest) = below.split_first()?;
        let (file, names) = &self.modules[module];
        let Some(import) = names.imports.iter().find(|import| import.name == *name) else {
            return Some(file);
        };
        let path = self.absolute(module, &import.path, steps)?;
        if steps == 0 { None } else { self.definition(&[path, rest.to_vec()].concat(), steps - 1) }
    }

    /// The files that each file uses.
    fn uses(&self) -> Uses<'_> {
        const STEPS: usize = 16;
        let mut uses = BTreeMap::new();
        for (module, (file, names)) in self.modules.iter().filter(|(module, _)| !module.is_empty()) {
            let imports =
                names.imports.iter().filter(|import| !import.is_handed_on).map(|import| &import.path);
            let named = imports.chain(&names.paths).filter_map(|path| self.absolute(module, path, STEPS));
            let files: BTreeSet<&str> = named
                .filter_map(|path| self.definition(&path, STEPS))
                .filter(|used| used != file && *used != "src/lib.rs")
                .collect();
            uses.insert(file.as_str(), files);
        }
        uses
    }
}

fn module(path: &str) -> Path {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { Path::new() } else { path.split('/').map(str::to_owned).collect() }
}

type Uses<'f> = BTreeMap<&'f str, BTreeSet<&'f str>>;

/// What a file needs, itself only where it needs what needs it.
fn reached<'f>(uses: &Uses<'f>, from: &str) -> BTreeSet<&'f str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        for &used in uses.get(file).into_iter().flatten() {
            if seen.insert(used) {
                open.push(used);
            }
        }
    }
    seen
}

/// Sets of files of which each needs each other.
fn large_circles(uses: &Uses) -> Vec<String> {
    let from: Uses = uses.keys().map(|&file| (file, reached(uses, file))).collect();
    let needs = |file: &str, other: &str| from.get(file).is_some_and(|reached| reached.contains(other));
    let circle = |&file: &&str| -> Vec<&str> {
        uses.keys().copied().filter(|other| needs(file, other) && needs(other, file)).collect()
    };
    let circles: BTreeSet<Vec<&str>> = uses.keys().map(circle).collect();
    let large = circles.into_iter().filter(|circle| circle.len() > LARGEST_CIRCLE);
    large.map(|circle| format!("a circle of {} files: {}", circle.len(), circle.join(" "))).collect()
}

/// Imports from a layer above the file's own.
fn upward(uses: &Uses, slices: &BTreeSet<String>) -> Vec<String> {
    let layer = |path: &str| match module(path).first().map(String::as_str) {
        Some("kernel") => Some(1),
        Some("device") => Some(2),
        Some("data") => Some(3),
        Some("tile") => Some(4),
        Some(slice) if slices.contains(slice) => Some(5),
        Some("measure" | "shaders") => Some(6),
        Some("cli") => Some(7),
        // Errors, tokens, vectors and draws stand below all layers.
        _ => None,
    };
    let mut violations = Vec::new();
    for (file, used) in uses {
        let above =
            used.iter().filter(|used| layer(used).is_some_and(|used| layer(file).unwrap_or(0) < used));
        violations.extend(above.map(|used| format!("{file} imports from {used}, which stands above it")));
    }
    violations
}

#[test]
fn no_circle_of_files_is_large() {
    let all = Crate::new(&files_below("src", &[".rs"]));
    none_of(&large_circles(&all.uses()));
}

#[test]
fn no_file_imports_from_above() {
    let files = files_below("src", &[".rs"]);
    let all = Crate::new(&files);
    assert!(all.uses().values().map(BTreeSet::len).sum::<usize>() > 500, "the imports were not found");
    none_of(&upward(&all.uses(), &slices(&files)));
}

fn planted(files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    let files: Vec<_> = files.chain([("src/lib.rs".to_owned(), "pub use tile::Shape;".to_owned())]).collect();
    let all = Crate::new(&files);
    let slices = BTreeSet::from(["kmeans".to_owned()]);
    [large_circles(&all.uses()), upward(&all.uses(), &slices)].concat()
}

#[test]
fn planted_circles_are_caught() {
    let ring = [
        ("src/tile/a.rs", "use super::b::{self, B}; struct A;"),
        ("src/tile/b.rs", "use crate::tile::c as other; struct B(other::C);"),
        ("src/tile/c.rs", "mod within { fn f() { super::super::d::f() } } struct C;"),
        // Through a name that the folder hands on, and through the crate's root.
        ("src/tile/d.rs", "fn f(e: super::Shape) {}"),
        ("src/tile/e.rs", "use super::a::A; pub struct Shape;"),
        ("src/tile/mod.rs", "mod a; pub use e::Shape;"),
    ];
    assert_eq!(
        planted(&ring),
        ["a circle of 5 files: src/tile/a.rs src/tile/b.rs src/tile/c.rs src/tile/d.rs src/tile/e.rs"]
    );
    let mut through_root = ring;
    through_root[3].1 = "use crate::Shape;";
    assert_eq!(planted(&through_root).len(), 1);
    let mut small = ring;
    small[2].1 = "fn f() { super::a::f() }";
    assert_eq!(planted(&small), [""; 0]);
    let mut for_tests = ring;
    for_tests[3].1 = "#[cfg(test)] mod tests { use crate::tile::e::Shape; }";
    assert_eq!(planted(&for_tests), [""; 0]);
}

#[test]
fn planted_imports_from_above_are_caught() {
    let above = |path, text| {
        planted(&[
            (path, text),
            ("src/kmeans/mod.rs", ""),
            ("src/cli/mod.rs", ""),
            ("src/tile/mod.rs", ""),
            ("src/data/mod.rs", ""),
            ("src/device/mod.rs", ""),
        ])
        .len()
    };
    assert_eq!(above("src/tile/a.rs", "use crate::kmeans::Fit;"), 1);
    assert_eq!(above("src/data/a.rs", "fn f() { crate::tile::f() }"), 1);
    assert_eq!(above("src/device/a.rs", "use crate::data::Points;"), 1);
    assert_eq!(above("src/kmeans/a.rs", "use crate::cli::run;"), 1);
    assert_eq!(above("src/kmeans/a.rs", "use crate::{data::Points, device::Device, tile::f};"), 0);
    assert_eq!(above("src/cli/a.rs", "use crate::kmeans::fit;"), 0);
}
