//! Which modules an adapter says that it adapts.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::config::Fields;
use super::endings::Endings;
use super::patterns::{Compiler, Pattern, Search};
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
    List(Endings, &'static str),
    Expression(Box<Pattern>, &'static str),
}

/// The layers of a model that are adapted.
#[derive(Debug, Clone)]
struct Layers {
    numbers: BTreeSet<i64>,
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
        let mut compiler = Compiler::new("layers_pattern", &fields.path);
        let mut compile = |text: &String| compiler.compiled(&format!(r"\A.*?\.{text}\.(\d+)\."), text);
        let patterns = patterns.iter().map(&mut compile).collect::<Result<_>>()?;
        let numbers = numbers.into_iter().collect();
        Ok(Self { targets, excluded, layers: Some(Layers { numbers, patterns }) })
    }

    /// Whether the adapter has weights for `module`; none where that cannot be told without the base model.
    pub(super) fn selects(&self, module: &str, search: &Search<'_>) -> Result<Option<bool>> {
        if let Some(excluded) = &self.excluded
            && excluded.contains(module, search)?
        {
            return Ok(Some(false));
        }
        let Some(targets) = &self.targets else { return Ok(None) };
        let mut selected = targets.contains(module, search)?;
        // PEFT looks at the layers of listed names only.
        if let (true, Some(layers), Names::List(..)) = (selected, &self.layers, targets) {
            selected = layers.contain(module, search)?;
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
                Some(Self::Expression(Box::new(Compiler::new(field, &fields.path).full(&text)?), field))
            }
            Some(OneOrMany::Many(list)) if list.is_empty() => None,
            Some(OneOrMany::Many(list)) => {
                Some(Self::List(Endings::new(list.into_iter().zip(0..), false), field))
            }
        })
    }

    fn contains(&self, module: &str, search: &Search<'_>) -> Result<bool> {
        match self {
            Self::List(names, field) => {
                let found = names.first(module, |steps| search.spend(steps as u64, field))?;
                Ok(found.is_some())
            }
            Self::Expression(pattern, field) => pattern.matches(module, field, search),
        }
    }
}

impl Layers {
    fn contain(&self, module: &str, search: &Search<'_>) -> Result<bool> {
        for pattern in &self.patterns {
            if let Some(number) = pattern.number(module, "layers_pattern", search)? {
                return Ok(self.numbers.contains(&number));
            }
        }
        Ok(false)
    }
}
