//! Regular expressions of configurations: Python's, so with look-around.

use std::collections::HashSet;
use std::path::Path;

use fancy_regex::{Regex, RegexBuilder};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::folder::malformed;
use crate::error::{Error, Result};

/// Memory of a compiled expression. Expressions that PEFT and its users write stay far below.
const MAX_COMPILED_BYTES: usize = 4 << 20;

/// Most expressions of one field that are compiled. Lists of plain module names, which may be long, are not.
const MAX_EXPRESSIONS: usize = 4096;

/// A compiled expression of a configuration.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Matches whole names, as Python's `re.fullmatch`.
    pub(super) fn full(text: &str, field: &str, path: &Path) -> Result<Self> {
        Self::compiled(&format!(r"\A(?:{text})\z"), text, field, path)
    }

    /// The expression as it stands, made from the configuration's `text`.
    pub(super) fn compiled(expression: &str, text: &str, field: &str, path: &Path) -> Result<Self> {
        let built = RegexBuilder::new(expression).delegate_size_limit(MAX_COMPILED_BYTES).build();
        let regex = built.map_err(|error| {
            let expected = format!("{field}: a regular expression ({error})");
            malformed(path, expected, text)
        })?;
        Ok(Self { regex })
    }

    /// Whether `name` matches.
    pub(super) fn matches(&self, name: &str, field: &str, path: &Path) -> Result<bool> {
        self.regex.is_match(name).map_err(|error| self.gave_up(field, path, &error))
    }

    /// The number that the expression's first group captures in `name`.
    pub(super) fn number(&self, name: &str, field: &str, path: &Path) -> Result<Option<i64>> {
        let captures = self.regex.captures(name).map_err(|error| self.gave_up(field, path, &error))?;
        Ok(captures.and_then(|groups| groups.get(1)?.as_str().parse().ok()))
    }

    fn gave_up(&self, field: &str, path: &Path, error: &fancy_regex::Error) -> Error {
        let expected = format!("{field}: an expression that matches quickly ({error})");
        malformed(path, expected, self.regex.as_str())
    }
}

/// PEFT's test for a key of `rank_pattern`: the expression matches the whole name, or its end after a dot.
#[derive(Debug, Clone)]
enum Ending {
    /// A key that is a plain name, as most are: no expression needs to be compiled.
    Name(String),
    Expression(Box<Pattern>),
}

impl Ending {
    fn new(key: String, field: &str, path: &Path) -> Result<Self> {
        if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.') {
            return Ok(Self::Name(key));
        }
        let pattern = Pattern::compiled(&format!(r"\A(.*\.)?({key})\z"), &key, field, path)?;
        Ok(Self::Expression(Box::new(pattern)))
    }

    fn matches(&self, name: &str, field: &str, path: &Path) -> Result<bool> {
        match self {
            Self::Expression(pattern) => pattern.matches(name, field, path),
            Self::Name(key) => Ok(name_ends_with(name, key)),
        }
    }
}

/// Whether `key`, in which a dot stands for any character, is the whole `name` or its end after a dot.
fn name_ends_with(name: &str, key: &str) -> bool {
    let mut rest = name.chars().rev();
    let same = |mark: char| rest.next().is_some_and(|found| mark == found || (mark == '.' && found != '\n'));
    key.chars().rev().all(same) && matches!(rest.next(), None | Some('.'))
}

/// Values by expression; the first that matches counts.
#[derive(Debug, Clone)]
pub(super) struct Patterns<T> {
    field: &'static str,
    entries: Vec<(Ending, T)>,
}

impl<T: Copy> Patterns<T> {
    /// Compiles the expressions of `field`.
    pub(super) fn new(entries: InOrder<T>, field: &'static str, path: &Path) -> Result<Self> {
        let mut compiled: Vec<(Ending, T)> = Vec::new();
        let mut expressions = 0;
        for (key, value) in entries.0 {
            compiled.push((Ending::new(key, field, path)?, value));
            expressions += usize::from(matches!(compiled.last(), Some((Ending::Expression(_), _))));
            if expressions > MAX_EXPRESSIONS {
                let expected = format!("{field}: at most {MAX_EXPRESSIONS} expressions beside plain names");
                return Err(malformed(path, expected, "more"));
            }
        }
        Ok(Self { field, entries: compiled })
    }

    /// The value for `name`.
    pub(super) fn first(&self, name: &str, path: &Path) -> Result<Option<T>> {
        for (pattern, value) in &self.entries {
            if pattern.matches(name, self.field, path)? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

/// A JSON object in the order of the file; a key that it says twice is refused, since readers differ in which one counts.
pub(super) struct InOrder<T>(pub(super) Vec<(String, T)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = InOrder<T>;

            fn expecting(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                text.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<InOrder<T>, A::Error> {
                let mut entries = Vec::new();
                let mut known = HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if !known.insert(key.clone()) {
                        return Err(A::Error::custom(format!("the key {key:?} twice")));
                    }
                    entries.push((key, value));
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain names and expressions for the same keys agree on every name.
    #[test]
    fn plain_names_match_as_their_expressions_do() {
        let path = Path::new("adapter_config.json");
        let names = ["", "q", "a.q", "aq", ".q", "a.b.q", "a.bxq", "axb.q", "bxq", "a.b", "q.q", "é.q", "éq"];
        let mut matching = 0;
        for key in ["q", "b.q", "a.b.q", ".", ".q", "", "a.b"] {
            let plain = Ending::new(key.into(), "rank_pattern", path).unwrap();
            assert!(matches!(plain, Ending::Name(_)));
            let compiled = Ending::new(format!("(?:{key})"), "rank_pattern", path).unwrap();
            for name in names {
                let is_match = plain.matches(name, "rank_pattern", path).unwrap();
                assert_eq!(
                    is_match,
                    compiled.matches(name, "rank_pattern", path).unwrap(),
                    "{key:?} {name:?}"
                );
                matching += usize::from(is_match);
            }
        }
        assert!(matching > 10);
    }
}
