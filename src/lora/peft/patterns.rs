//! Regular expressions of configurations: Python's, so with look-around.

use std::cell::Cell;
use std::path::Path;

use fancy_regex::{CompileError, Regex, RegexBuilder};

use super::endings::Endings;
use super::folder::malformed;
use crate::data::json::InOrder;
use crate::error::{Error, Result};

/// Longest text of one expression, and most classes in it: each `\w` is a table of 6 KB while it is compiled.
const LONGEST_EXPRESSION: usize = 16 << 10;
const MOST_CLASSES: usize = 1024;

/// Memory of a compiled automaton, tried from the first to the last. Expressions that PEFT and its users write fit the first.
const COMPILED_BYTES: [usize; 4] = [8 << 10, 64 << 10, 512 << 10, 4 << 20];

/// Memory of all automata of one field, by the sizes that they were tried with.
const MOST_COMPILED_BYTES: usize = 32 << 20;

/// Most expressions of one field that are compiled. Lists of plain module names, which may be long, are not.
const MAX_EXPRESSIONS: usize = 4096;

/// Where an expression with look-around gives up.
const MOST_BACKTRACKS: usize = 20_000;

/// What looking for names may take, in bytes of names that an expression of the first size goes over.
const MOST_STEPS: u64 = 100_000_000;

/// What an expression with look-around is counted as, beside the bytes of the name.
const LOOK_AROUND_STEPS: u64 = 4_000;

/// One pass over the modules of an adapter: its errors name the file, and its work is bounded.
#[derive(Debug)]
pub(super) struct Search<'p> {
    pub(super) path: &'p Path,
    left: Cell<u64>,
}

impl<'p> Search<'p> {
    /// A pass that has not looked at anything yet.
    pub(super) fn new(path: &'p Path) -> Self {
        Self { path, left: Cell::new(MOST_STEPS) }
    }

    /// Takes steps off those that are left.
    pub(super) fn spend(&self, steps: u64, field: &str) -> Result<()> {
        match self.left.get().checked_sub(steps) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                let expected = format!("{field}: names and expressions found within {MOST_STEPS} steps");
                Err(malformed(self.path, expected, "more names, longer names or larger expressions"))
            }
        }
    }
}

/// A compiled expression of a configuration.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    regex: Regex,
    /// Steps that each byte of a name counts as, and that each name does.
    steps_per_byte: u64,
    steps_per_name: u64,
}

/// What the expressions of one field take.
pub(super) struct Compiler<'p> {
    field: &'static str,
    path: &'p Path,
    count: usize,
    bytes: usize,
}

impl<'p> Compiler<'p> {
    /// Of the expressions of `field`.
    pub(super) fn new(field: &'static str, path: &'p Path) -> Self {
        Self { field, path, count: 0, bytes: 0 }
    }

    /// An expression that matches whole names, as Python's `re.fullmatch`.
    pub(super) fn full(&mut self, text: &str) -> Result<Pattern> {
        self.compiled(&format!(r"\A(?:{text})\z"), text)
    }

    /// The expression as it stands, made from the configuration's `text`.
    pub(super) fn compiled(&mut self, expression: &str, text: &str) -> Result<Pattern> {
        let Self { field, path, .. } = *self;
        self.count += 1;
        if self.count > MAX_EXPRESSIONS {
            let expected = format!("{field}: at most {MAX_EXPRESSIONS} expressions beside plain names");
            return Err(malformed(path, expected, "more"));
        }
        if text.len() > LONGEST_EXPRESSION {
            let expected = format!("{field}: an expression of at most {LONGEST_EXPRESSION} bytes");
            return Err(malformed(path, expected, format!("{} bytes", text.len())));
        }
        let classes = class_count(text);
        if classes > MOST_CLASSES {
            let expected = format!("{field}: an expression of at most {MOST_CLASSES} classes");
            return Err(malformed(path, expected, format!("{classes}")));
        }
        let pieces = most_pieces(text);
        for bytes in COMPILED_BYTES {
            if self.bytes + bytes * pieces > MOST_COMPILED_BYTES {
                let expected = format!(
                    "{field}: expressions that compile to at most {MOST_COMPILED_BYTES} bytes in all"
                );
                return Err(malformed(path, expected, text));
            }
            let mut builder = RegexBuilder::new(expression);
            builder.delegate_size_limit(bytes).delegate_dfa_size_limit(bytes.max(COMPILED_BYTES[1]));
            match builder.backtrack_limit(MOST_BACKTRACKS).build() {
                Ok(regex) => {
                    self.bytes += bytes * pieces;
                    let steps_per_byte = (bytes / COMPILED_BYTES[0]) as u64;
                    let steps_per_name = if pieces > 1 { LOOK_AROUND_STEPS } else { 1 };
                    return Ok(Pattern { regex, steps_per_byte, steps_per_name });
                }
                Err(error) if is_too_large(&error) => {}
                Err(error) => {
                    let expected = format!("{field}: a regular expression ({error})");
                    return Err(malformed(path, expected, text));
                }
            }
        }
        let most = COMPILED_BYTES[COMPILED_BYTES.len() - 1];
        Err(malformed(path, format!("{field}: an expression that compiles to at most {most} bytes"), text))
    }
}

/// Whether an expression was refused for the memory that it takes.
fn is_too_large(error: &fancy_regex::Error) -> bool {
    match error {
        fancy_regex::Error::CompileError(inner) => match &**inner {
            CompileError::InnerError(inner) => inner.size_limit().is_some(),
            _ => false,
        },
        _ => false,
    }
}

/// At least the classes of an expression: what a backslash and a letter, or brackets, may stand for.
fn class_count(text: &str) -> usize {
    let escapes = text.as_bytes().windows(2).filter(|pair| pair[0] == b'\\' && pair[1].is_ascii_alphabetic());
    escapes.count() + text.bytes().filter(|&byte| byte == b'[').count()
}

/// At least the automata that an expression takes: one, or with look-around and its kin one between any two marks.
fn most_pieces(text: &str) -> usize {
    let marks = text.bytes().filter(|byte| b"()|*+?{\\".contains(byte)).count();
    let bytes = text.as_bytes();
    let is_plain = |pair: &[u8]| match pair {
        // Groups that only group, or name what they capture or how letters are compared.
        [b'?', next] => {
            !matches!(next, b'=' | b'!' | b'<' | b'>' | b'(' | b'~' | b'|' | b'&' | b'R' | b'P' | b'+')
        }
        [b'+' | b'}' | b'*', next] => *next != b'+',
        [b'\\', next] => !(next.is_ascii_digit() && *next != b'0' || b"kKGgRXZ".contains(next)),
        [b'(', next] => *next != b'*',
        _ => true,
    };
    if bytes.windows(2).all(is_plain) { 1 } else { 1 + marks }
}

impl Pattern {
    /// Whether `name` matches.
    pub(super) fn matches(&self, name: &str, field: &str, search: &Search<'_>) -> Result<bool> {
        self.spend(name, field, search)?;
        self.regex.is_match(name).map_err(|error| self.gave_up(field, search.path, &error))
    }

    /// The number that the expression's first group captures in `name`.
    pub(super) fn number(&self, name: &str, field: &str, search: &Search<'_>) -> Result<Option<i64>> {
        self.spend(name, field, search)?;
        let captures = self.regex.captures(name).map_err(|error| self.gave_up(field, search.path, &error))?;
        Ok(captures.and_then(|groups| groups.get(1)?.as_str().parse().ok()))
    }

    fn spend(&self, name: &str, field: &str, search: &Search<'_>) -> Result<()> {
        search.spend(name.len() as u64 * self.steps_per_byte + self.steps_per_name, field)
    }

    fn gave_up(&self, field: &str, path: &Path, error: &fancy_regex::Error) -> Error {
        let expected = format!("{field}: an expression that matches quickly ({error})");
        malformed(path, expected, self.regex.as_str())
    }
}

/// Whether a key is a plain name, as most are: no expression needs to be compiled.
fn is_name(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
}

/// Values by expression; the first that matches counts. PEFT's test: the expression matches the whole name, or its end
/// after a dot.
#[derive(Debug, Clone)]
pub(super) struct Patterns<T> {
    field: &'static str,
    values: Vec<T>,
    /// Keys that are plain names, and the others, with the places of their values.
    names: Endings,
    expressions: Vec<(Pattern, usize)>,
}

impl<T: Copy> Patterns<T> {
    /// Compiles the expressions of `field`.
    pub(super) fn new(entries: InOrder<T>, field: &'static str, path: &Path) -> Result<Self> {
        let mut compiler = Compiler::new(field, path);
        let (mut values, mut names, mut expressions) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (key, value)) in entries.0.into_iter().enumerate() {
            values.push(value);
            if is_name(&key) {
                names.push((key, place));
            } else {
                expressions.push((compiler.compiled(&format!(r"\A(.*\.)?({key})\z"), &key)?, place));
            }
        }
        Ok(Self { field, values, names: Endings::new(names, true), expressions })
    }

    /// The value for `name`.
    pub(super) fn first(&self, name: &str, search: &Search<'_>) -> Result<Option<T>> {
        let named = self.names.first(name, |steps| search.spend(steps as u64, self.field))?;
        for (pattern, place) in &self.expressions {
            if named.is_some_and(|named| named < *place) {
                break;
            }
            if pattern.matches(name, self.field, search)? {
                return Ok(Some(self.values[*place]));
            }
        }
        Ok(named.map(|place| self.values[place]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain names and expressions for the same keys agree on every name.
    #[test]
    fn plain_names_match_as_their_expressions_do() {
        let path = Path::new("adapter_config.json");
        let search = Search::new(path);
        let names =
            ["", "q", "a.q", "aq", ".q", "a.b.q", "a.bxq", "axb.q", "bxq", "a.b", "q.q", "é.q", "éq", "a\nq"];
        let keys = ["q", "b.q", "a.b.q", ".", ".q", "", "a.b", "q", "..q"];
        let patterns = |keys: Vec<String>| {
            let entries = keys.into_iter().zip(0_usize..).collect();
            Patterns::new(InOrder(entries), "rank_pattern", path).unwrap()
        };
        let (mut matching, mut all_keys) = (0, Vec::new());
        for key in keys {
            all_keys.push(key.to_owned());
            let expressions =
                |keys: &[String]| keys.iter().map(|key| format!("(?:{key})")).collect::<Vec<_>>();
            for keys in [vec![key.to_owned()], all_keys.clone()] {
                let (plain, compiled) = (patterns(keys.clone()), patterns(expressions(&keys)));
                assert!(plain.expressions.is_empty() && compiled.expressions.len() == keys.len());
                for name in names {
                    let found = plain.first(name, &search).unwrap();
                    assert_eq!(found, compiled.first(name, &search).unwrap(), "{keys:?} {name:?}");
                    matching += usize::from(found.is_some());
                }
            }
        }
        assert!(matching > 10);
        // A name and an expression: the first of the file counts.
        let mixed = patterns(["x(y)", "q", "(q)", "x."].map(str::to_owned).to_vec());
        let first = |name| mixed.first(name, &search).unwrap();
        assert_eq!([first("a.q"), first("xy"), first("xz"), first("z")], [Some(1), Some(0), Some(3), None]);
    }

    /// A key for each of many modules is found without going over all.
    #[test]
    fn many_names_take_few_steps() {
        let path = Path::new("adapter_config.json");
        let name = |module: usize| format!("model.layers.{}.experts.{}.q_proj", module / 100, module % 100);
        let entries = (0..20_000).map(|module| (name(module), module)).collect();
        let patterns = Patterns::new(InOrder(entries), "rank_pattern", path).unwrap();
        let search = Search::new(path);
        for module in 0..20_000 {
            assert_eq!(patterns.first(&name(module), &search).unwrap(), Some(module));
        }
        let steps = MOST_STEPS - search.left.get();
        assert!(steps < 20_000 * 100, "{steps}");
    }

    #[test]
    fn the_work_of_a_search_is_bounded() {
        let path = Path::new("adapter_config.json");
        let of = |key: &str| Patterns::new(InOrder(vec![(key.to_owned(), 1)]), "rank_pattern", path).unwrap();
        assert!(of(r"(\w{9})").expressions[0].0.steps_per_byte > 1);
        // One step looks whether there are plain names.
        for (key, steps) in [("(q)", 1 + 100 + 1), ("(?=q)q", 1 + 100 + LOOK_AROUND_STEPS)] {
            let patterns = of(key);
            let search = Search { path, left: Cell::new(10 * steps) };
            let name = "a".repeat(100);
            for _ in 0..10 {
                assert_eq!(patterns.first(&name, &search).unwrap(), None, "{key}");
            }
            let message = patterns.first(&name, &search).unwrap_err().to_string();
            assert!(message.contains("rank_pattern: names and expressions found within"), "{message}");
        }
    }
}
