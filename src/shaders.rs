//! Every kernel that any plan can choose, for the tests that validate them without a GPU.

use crate::error::Result;
pub use crate::kernel::Mirror;
use crate::kernel::{Binding, Kernel};
use crate::{distance, kmeans, kmedoids, lora, measure, tile};

/// One rendered kernel.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Shader {
    /// Its name, with what distinguishes the variant.
    pub name: String,
    /// Rendered WGSL.
    pub source: String,
    /// Entry point.
    pub entry: &'static str,
    /// For each argument whether it is `read`, `read_write` or `uniform`.
    pub bindings: Vec<&'static str>,
}

/// Calls a function of every table of kernels.
macro_rules! of_every_table {
    ($function:ident) => {
        [
            distance::gpu::kernels::$function(),
            kmeans::gpu::burst::kernels::$function(),
            kmeans::gpu::kernels::$function(),
            kmedoids::gpu::kernels::$function(),
            lora::gpu::kernels::$function(),
            measure::kernels::$function(),
            tile::collect::gpu::kernels::$function(),
            tile::nearest::gpu::kernels::$function(),
            tile::operands::gpu::kernels::$function(),
            tile::product::units::kernels::$function(),
            tile::soft::kernels::$function(),
            tile::store::$function(),
            tile::within::kernels::$function(),
        ]
    };
}

/// Structs shared with WGSL.
pub fn mirrors() -> Vec<Mirror> {
    of_every_table!(mirrors).concat()
}

/// Every variant of every kernel.
pub fn shaders() -> Result<Vec<Shader>> {
    let mut all = Vec::new();
    for kernels in of_every_table!(kernels) {
        all.extend(kernels?.into_iter().map(|(variant, kernel)| shader(&variant, kernel)));
    }
    Ok(all)
}

fn shader(variant: &str, kernel: Kernel) -> Shader {
    let binding = |binding: &Binding| match binding {
        Binding::Read => "read",
        Binding::ReadWrite => "read_write",
        Binding::Uniform => "uniform",
    };
    Shader {
        name: format!("{}: {variant}", kernel.name),
        entry: kernel.entry,
        bindings: kernel.bindings.iter().map(binding).collect(),
        source: kernel.source,
    }
}
