//! Which modules an adapter says that it adapts.

use std::path::Path;

use serde::Deserialize;

use super::config::Fields;
use super::patterns::Pattern;
use crate::error::Result;

/// What `target_modules` stands for where it is no list and no expression.
const ALL_LINEAR: &str = "all-linear";

/// `target_modules`, `exclude_modules`, `layers_to_transform` and `layers_pattern`.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    /// None: which modules are meant depends on the base model.
    targets: Option<Names>,
    excluded: Option<Names>,
    layers: Option<Layers>,
}

/// Names, or an expression for whole names.
#[derive(Debug, Clone)]
enum Names {
    List(Vec<String>),
    Expression(Box<Pattern>, &'static str),
}

/// The layers of a model that are adapted.
#[derive(Debug, Clone)]
struct Layers {
    numbers: Vec<i64>,
    /// What precedes the number of a layer.
    patterns: Vec<Pattern>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl Selection {
    pub(super) fn read(fields: &mut Fields) -> Result<Self> {
        let targets = Names::read(fields, "target_modules")?;
        let excluded = Names::read(fields, "exclude_modules")?;
        let expected = "a number or a list of numbers";
        let layers: Option<OneOrMany<i64>> = fields.take("layers_to_transform", expected)?;
        let expected = "a text or a list of texts";
        let patterns: Option<OneOrMany<String>> = fields.take("layers_pattern", expected)?;
        let numbers = layers.map(OneOrMany::into_vec).unwrap_or_default();
        if numbers.is_empty() {
            return Ok(Self { targets, excluded, layers: None });
        }
        let mut patterns = patterns.map(OneOrMany::into_vec).unwrap_or_default();
        if patterns.is_empty() || patterns == [""] {
            patterns = vec![r"[^.]*".into()];
        }
        let compile = |text: &String| {
            Pattern::compiled(&format!(r"\A.*?\.{text}\.(\d+)\."), text, "layers_pattern", &fields.path)
        };
        let patterns = patterns.iter().map(compile).collect::<Result<_>>()?;
        Ok(Self { targets, excluded, layers: Some(Layers { numbers, patterns }) })
    }

    /// Whether the adapter has weights for `module`; none where that cannot be told without the base model.
    pub(super) fn selects(&self, module: &str, path: &Path) -> Result<Option<bool>> {
        if let Some(excluded) = &self.excluded
            && excluded.contains(module, path)?
        {
            return Ok(Some(false));
        }
        let Some(targets) = &self.targets else { return Ok(None) };
        let mut selected = targets.contains(module, path)?;
        // PEFT looks at the layers of listed names only.
        if let (true, Some(layers), Names::List(_)) = (selected, &self.layers, targets) {
            selected = layers.contain(module, path)?;
        }
        Ok(Some(selected))
    }
}

impl Names {
    fn read(fields: &mut Fields, field: &'static str) -> Result<Option<Self>> {
        let expected = "a list of names or a regular expression";
        let names: Option<OneOrMany<String>> = fields.take(field, expected)?;
        Ok(match names {
            None => None,
            Some(OneOrMany::One(text)) if text.eq_ignore_ascii_case(ALL_LINEAR) || text.is_empty() => None,
            Some(OneOrMany::One(text)) => {
                Some(Self::Expression(Box::new(Pattern::full(&text, field, &fields.path)?), field))
            }
            Some(OneOrMany::Many(list)) if list.is_empty() => None,
            Some(OneOrMany::Many(list)) => Some(Self::List(list)),
        })
    }

    fn contains(&self, module: &str, path: &Path) -> Result<bool> {
        let ends = |name: &String| module.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
        match self {
            Self::List(names) => Ok(names.iter().any(|name| module == name || ends(name))),
            Self::Expression(pattern, field) => pattern.matches(module, field, path),
        }
    }
}

impl Layers {
    fn contain(&self, module: &str, path: &Path) -> Result<bool> {
        for pattern in &self.patterns {
            if let Some(number) = pattern.number(module, "layers_pattern", path)? {
                return Ok(self.numbers.contains(&number));
            }
        }
        Ok(false)
    }
}
