//! Regular expressions of configurations: Python's, so with look-around.

use std::path::Path;

use fancy_regex::{Regex, RegexBuilder};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::folder::malformed;
use crate::error::Result;

/// Memory of a compiled expression. Expressions that PEFT and its users write stay far below.
const MAX_COMPILED_BYTES: usize = 4 << 20;

/// An expression of a configuration, with what is needed to report it.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Matches whole names, as Python's `re.fullmatch`.
    pub(super) fn full(text: &str, field: &str, path: &Path) -> Result<Self> {
        Self::compiled(&format!(r"\A(?:{text})\z"), text, field, path)
    }

    /// Matches as PEFT's `rank_pattern`: the whole name, or its end after a dot.
    pub(super) fn ending(text: &str, field: &str, path: &Path) -> Result<Self> {
        Self::compiled(&format!(r"\A(.*\.)?({text})\z"), text, field, path)
    }

    /// An expression as it stands.
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

    fn gave_up(&self, field: &str, path: &Path, error: &fancy_regex::Error) -> crate::error::Error {
        let expected = format!("{field}: an expression that matches quickly ({error})");
        malformed(path, expected, self.regex.as_str())
    }
}

/// Values by expression; the first that matches counts.
#[derive(Debug, Clone)]
pub(super) struct Patterns<T> {
    field: &'static str,
    entries: Vec<(Pattern, T)>,
}

impl<T: Copy> Patterns<T> {
    /// Compiles the expressions of `field`.
    pub(super) fn new(entries: InOrder<T>, field: &'static str, path: &Path) -> Result<Self> {
        let compile = |(key, value): (String, T)| Ok((Pattern::ending(&key, field, path)?, value));
        let entries = entries.0.into_iter().map(compile).collect::<Result<_>>()?;
        Ok(Self { field, entries })
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

/// A JSON object in the order of the file.
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
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}
