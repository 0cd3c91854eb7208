//! The kernels of the nearest fold and of its certificate.

use minijinja::{Value, context};

use crate::kernel::{Kernel, kernels, shared};
use crate::tile::choice::shape::{Combine, TileShape};

/// Columns kept per listed row; a row with more is decided among all columns on the host.
pub(crate) const MOST_CANDIDATES: u32 = 15;

shared! {
    /// What a nearest tile is called with, whatever its product: in `f32` nothing is scaled back and no row has a residual.
    struct NearestParams {
        rows: u32,
        columns: u32,
        depth: u32,
        first_row: u32,
        first_column: u32,
        split_columns: u32,
        first_split: u32,
        stride: u32,
        unscale: f32,
        ratio: f32,
    }

    /// What a certificate is called with. Products in `f32` have no ratio, those of `f16` neither slope nor constant.
    struct CertifyParams {
        rows: u32,
        splits: u32,
        stride: u32,
        first_row: u32,
        slope: f32,
        constant: f32,
        square: f32,
        ratio: f32,
    }

    struct CandidatesParams {
        rows: u32,
        columns: u32,
        depth: u32,
        first_listed: u32,
        first_column: u32,
        split_columns: u32,
        /// Which of the counters tells how many entries the list has.
        counter: u32,
    }

    struct RelabelParams { pairs: u32 }

    struct RestoreParams { rows: u32 }

    struct DecideParams {
        columns: u32,
        depth: u32,
        /// Which of the counters tells how many entries the list has; the next one counts rows that changed.
        counter: u32,
        /// Entries at most.
        most: u32,
    }

    /// What a row keeps of one split of the columns.
    struct Partial { best: f32, second: f32, column: u32 }

    /// A row that its tile did not certify.
    struct Listed {
        row: u32,
        /// By its own tile.
        nearest: u32,
        before: u32,
        /// The nearest column has a value of at most this.
        limit: f32,
    }
}

/// Which rows a certificate, or what keeps bounds on distances, goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// All rows of a window, by the `f32` tile.
    Window,
    /// All rows of a window, by matrix units.
    Halves,
    /// The rows of a list, by the `f32` tile.
    Listed,
}

impl Reached {
    fn context(self) -> Value {
        context! { halves => self == Self::Halves, listed => self == Self::Listed }
    }

    fn name(self, [window, halves, listed]: [&'static str; 3]) -> &'static str {
        match self {
            Self::Window => window,
            Self::Halves => halves,
            Self::Listed => listed,
        }
    }
}

kernels! {
    /// The nearest kernel of one shape, for all rows of a window or for those of a list.
    fn nearest_kernel(shape: &TileShape, is_listed: bool)
    for [
        shape in &crate::tile::choice::family::candidates(crate::tile::choice::family::Fold::Nearest),
        is_listed in [false, true],
    ] {
        let context = context! { listed => is_listed, ..shape.context(Combine::Dot) };
        let structs = [NearestParams::WGSL, Partial::WGSL, Listed::WGSL];
        let kernel = Kernel::render("tile/nearest/nearest.wgsl", &structs, context)?;
        Ok(if is_listed { kernel.named("nearest_listed") } else { kernel })
    }

    /// The certificate of a tier.
    fn certify_kernel(of: Reached) for [of in [Reached::Window, Reached::Halves, Reached::Listed]] {
        let structs = [CertifyParams::WGSL, Partial::WGSL, Listed::WGSL];
        let kernel = Kernel::render("tile/nearest/certify.wgsl", &structs, of.context())?;
        Ok(kernel.named(of.name(["certify", "matrix_certify", "certify_listed"])))
    }

    /// The kernel that keeps bounds on distances.
    fn reach_kernel(of: Reached) for [of in [Reached::Window, Reached::Halves, Reached::Listed]] {
        let structs = [CertifyParams::WGSL, Partial::WGSL, Listed::WGSL];
        let kernel = Kernel::render("tile/nearest/reach.wgsl", &structs, of.context())?;
        Ok(kernel.named(of.name(["reach", "matrix_reach", "reach_listed"])))
    }

    /// The kernel that brings bounds up to what a few columns say, by the `f32` tile or by matrix units.
    fn approach_kernel(halves: bool) for [halves in [false, true]] {
        let structs = [CertifyParams::WGSL, Partial::WGSL];
        let kernel = Kernel::render("tile/nearest/approach.wgsl", &structs, context! { halves })?;
        Ok(if halves { kernel.named("matrix_approach") } else { kernel })
    }

    /// The candidates kernel of one shape.
    fn candidates_kernel(shape: &TileShape) for [shape in &crate::tile::choice::choose::LISTED] {
        let context = context! { room => MOST_CANDIDATES, ..shape.context(Combine::Dot) };
        Kernel::render("tile/nearest/candidates.wgsl", &[CandidatesParams::WGSL, Listed::WGSL], context)
    }

    /// The kernel that decides listed rows on the device.
    fn decide_kernel() {
        let context = context! { room => MOST_CANDIDATES, features => 64, candidates => 16 };
        Kernel::render("tile/nearest/decide.wgsl", &[DecideParams::WGSL, Listed::WGSL], context)
    }

    /// The kernel that takes changes of listed rows back.
    fn restore_kernel() {
        Kernel::render("tile/nearest/restore.wgsl", &[RestoreParams::WGSL, Listed::WGSL], context! {})
    }

    /// The kernel that writes the host's decisions.
    fn relabel_kernel() {
        Kernel::render("tile/nearest/relabel.wgsl", &[RelabelParams::WGSL], context! {})
    }
}
