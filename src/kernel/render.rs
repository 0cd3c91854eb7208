//! WGSL from the templates under `shaders/`: strict, so that a name the caller forgot is an error and not a blank.

use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior, Value};

use crate::error::{Error, Result};

/// Every template by its path under `shaders/`, in the order of the paths. `build.rs` lists them.
const TEMPLATES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// All templates, parsed once per process.
static ENVIRONMENT: LazyLock<std::result::Result<Environment<'static>, minijinja::Error>> =
    LazyLock::new(|| {
        // Of what templates can call they call `range`; filters and tests that nobody names stay out of the program.
        let mut environment = Environment::empty();
        environment.add_function("range", minijinja::functions::range);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, text) in TEMPLATES {
            environment.add_template(name, text)?;
        }
        Ok(environment)
    });

/// A checksum of the templates whose names begin with `prefix`: what was measured of kernels holds for these texts.
pub(crate) fn checksum(prefix: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for (name, text) in TEMPLATES.iter().filter(|(name, _)| name.starts_with(prefix)) {
        hasher.update(name.as_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize()
}

/// The text of one template with the values of `context`.
pub(super) fn render(name: &'static str, context: Value) -> Result<String> {
    let failed =
        |error: &minijinja::Error| Error::ShaderTemplate { template: name, reason: error.to_string() };
    let environment = ENVIRONMENT.as_ref().map_err(failed)?;
    environment
        .get_template(name)
        .and_then(|template| template.render(context))
        .map_err(|error| failed(&error))
}
