//! The kernels of a search for medoids.

use minijinja::context;

use crate::kernel::{Kernel, kernels, shared};

/// Medoids whose changes `gain` keeps in workgroup memory at a time.
const PLACES: u32 = 1024;

shared! {
    /// Where a search is.
    struct Control {
        /// The next candidate.
        next: u32,
        /// Candidates since the last swap.
        since: u32,
        /// Candidates that are looked at together.
        together: u32,
        /// Swaps so far.
        swaps: u32,
        /// Whether this step found a swap, and which.
        found: u32,
        candidate: u32,
        place: u32,
        padding: u32,
    }

    struct GainParams { objects: u32, places: u32, held: u32, first: u32, end: u32, across: u32, unit: i32 }

    struct ChooseParams { candidates: u32, end: u32, most_together: u32 }

    struct BringParams { objects: u32, first: u32, end: u32 }

    struct ExchangeParams { objects: u32, places: u32, unit: i32 }
}

kernels! {
    /// Judges candidates: the next few in an eager search, all of a window otherwise.
    fn gain_kernel(eager: bool) for [eager in [false, true]] {
        let context = context! { eager, places => PLACES };
        Kernel::render("kmedoids/gain.wgsl", &[GainParams::WGSL, Control::WGSL], context)
    }

    /// Takes the first, or the best, of the swaps that improve.
    fn choose_kernel(eager: bool) for [eager in [false, true]] {
        Kernel::render("kmedoids/choose.wgsl", &[ChooseParams::WGSL, Control::WGSL], context! { eager })
    }

    /// Copies the column of the candidate that was taken.
    fn bring_kernel() {
        Kernel::render("kmedoids/bring.wgsl", &[BringParams::WGSL, Control::WGSL], context! {})
    }

    /// Brings the objects up to date.
    fn exchange_kernel() {
        Kernel::render("kmedoids/exchange.wgsl", &[ExchangeParams::WGSL, Control::WGSL], context! {})
    }
}
