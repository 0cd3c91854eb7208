//! Kernels as text: what Rust and WGSL both know of them is declared once.
//!
//! Each `kernels.rs` is a table. [`shared!`] declares structs: Rust gets the struct, and a template that is rendered
//! with it gets the same declaration in WGSL by its name, as `{{ RowsParams }}`. [`kernels!`] declares the functions that
//! render kernels, each with the variants that plans can choose, which the tests validate. What a kernel binds is
//! read off its text.

mod render;

use std::collections::BTreeMap;
use std::fmt;

use minijinja::{Value, context};

use crate::error::Result;
pub(crate) use render::checksum;

/// How a kernel uses one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
    /// `var<uniform>`: the parameters, always the last of the list.
    Uniform,
}

/// A kernel's text and how it is called. Its arguments are `@group(0)`, numbered without gaps in the list's order.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Name for messages and for the cache.
    pub(crate) name: &'static str,
    /// Entry point in the text.
    pub(crate) entry: &'static str,
    /// Rendered WGSL.
    pub(crate) source: String,
    /// The arguments.
    pub(crate) bindings: Vec<Binding>,
}

impl Kernel {
    /// The kernel whose entry point has the name of its template's file. The template sees `context` and `structs`.
    pub(crate) fn render(template: &'static str, structs: &[Declaration], context: Value) -> Result<Self> {
        let texts = structs.iter().map(|declared| (declared.name, declared.to_string()));
        let texts: BTreeMap<_, _> = texts.collect();
        let source = render::render(template, context! { ..context, ..texts })?;
        let file = template.rsplit_once('/').map_or(template, |(_, file)| file);
        let entry = file.strip_suffix(".wgsl").unwrap_or(file);
        Ok(Self::of_text(entry, source))
    }

    /// The kernel of a whole text.
    pub(crate) fn of_text(entry: &'static str, source: String) -> Self {
        let bindings = source.lines().filter_map(binding).collect();
        Self { name: entry, entry, source, bindings }
    }

    /// The same kernel under the name of a variant.
    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Whether its text multiplies on matrix units.
    pub(crate) fn uses_matrix_units(&self) -> bool {
        self.source.contains("enable wgpu_cooperative_matrix;")
    }
}

/// What a line of WGSL binds. Templates declare arguments one a line, in the order of their numbers.
fn binding(line: &str) -> Option<Binding> {
    let (_, variable) = line.trim_start().strip_prefix("@group(0) @binding(")?.split_once(") var<")?;
    match variable.split_once('>')?.0 {
        "uniform" => Some(Binding::Uniform),
        "storage, read_write" => Some(Binding::ReadWrite),
        _ => Some(Binding::Read),
    }
}

/// The declaration of a struct in WGSL.
pub(crate) struct Declaration {
    /// Name in Rust and in WGSL.
    pub(crate) name: &'static str,
    /// Where Rust declares it.
    pub(crate) module: &'static str,
    /// Its fields.
    pub(crate) fields: &'static [Field],
}

/// Name of a field, and what names its type in WGSL.
type Field = (&'static str, fn() -> String);

impl fmt::Display for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "// Mirror    {}::{}\nstruct {} {{", self.module, self.name, self.name)?;
        for (name, wgsl) in self.fields {
            writeln!(f, "    {name}: {},", wgsl())?;
        }
        f.write_str("}")
    }
}

/// A type of fields that Rust and WGSL lay out alike.
pub(crate) trait FieldType {
    /// Its name in WGSL.
    fn wgsl() -> String;
}

macro_rules! field_types {
    ($($rust:ty => $wgsl:literal),*) => {
        $(impl FieldType for $rust {
            fn wgsl() -> String {
                $wgsl.to_owned()
            }
        })*
    };
}

field_types!(u32 => "u32", i32 => "i32", f32 => "f32", [f32; 2] => "vec2<f32>", [u32; 2] => "vec2<u32>");

impl<const LENGTH: usize> FieldType for [[u32; 4]; LENGTH] {
    fn wgsl() -> String {
        format!("array<vec4<u32>, {LENGTH}>")
    }
}

/// Where Rust lays a shared struct out.
#[cfg(feature = "test-hooks")]
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Mirror {
    /// Name in Rust and in WGSL.
    pub name: &'static str,
    /// Size in Rust.
    pub size: usize,
    /// Fields with their offsets in Rust.
    pub fields: Vec<(&'static str, usize)>,
}

/// Declares the structs of a table that Rust and WGSL share. Comments on fields are said here alone.
macro_rules! shared {
    ($($(#[$about:meta])* struct $name:ident {
        $($(#[$field_about:meta])* $field:ident: $kind:ty),* $(,)?
    })*) => {
        $(
            $(#[$about])*
            #[repr(C)]
            #[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
            pub(crate) struct $name {
                $($(#[$field_about])* pub $field: $kind),*
            }

            impl $name {
                /// The struct in WGSL.
                pub(crate) const WGSL: $crate::kernel::Declaration = $crate::kernel::Declaration {
                    name: stringify!($name),
                    module: module_path!(),
                    fields: &[$((stringify!($field), <$kind as $crate::kernel::FieldType>::wgsl)),*],
                };
            }
        )*

        /// The structs of this table.
        #[cfg(feature = "test-hooks")]
        pub(crate) fn mirrors() -> Vec<$crate::kernel::Mirror> {
            vec![$($crate::kernel::Mirror {
                name: stringify!($name),
                size: size_of::<$name>(),
                fields: vec![$((stringify!($field), std::mem::offset_of!($name, $field))),*],
            }),*]
        }
    };
}
pub(crate) use shared;

/// Declares the functions of a table that render kernels. `for [argument in values, ...]` says which arguments plans can
/// choose: the variants that the tests validate.
macro_rules! kernels {
    ($($(#[$about:meta])*
    fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(for [$($variants:tt)*])? $body:block)*) => {
        $(
            $(#[$about])*
            pub(crate) fn $name($($argument: $kind),*) -> $crate::error::Result<$crate::kernel::Kernel> $body
        )*

        /// Every kernel of this table in every variant, with the function and the arguments that tell it apart.
        #[cfg(feature = "test-hooks")]
        pub(crate) fn kernels() -> $crate::error::Result<Vec<(String, $crate::kernel::Kernel)>> {
            let mut all = Vec::new();
            $($crate::kernel::for_each!([$($($variants)*)?] {
                let kernel = $name($($argument),*)?;
                let arguments: &[&dyn std::fmt::Debug] = &[$(&$argument),*];
                all.push((format!(concat!(stringify!($name), "{:?}"), arguments), kernel));
            });)*
            Ok(all)
        }
    };
}
pub(crate) use kernels;

/// Runs a block for each combination of values.
#[cfg(feature = "test-hooks")]
macro_rules! for_each {
    ([] $body:block) => { $body };
    ([$one:pat in $values:expr $(, $($rest:tt)*)?] $body:block) => {
        for $one in $values {
            $crate::kernel::for_each!([$($($rest)*)?] $body);
        }
    };
}
#[cfg(feature = "test-hooks")]
pub(crate) use for_each;
