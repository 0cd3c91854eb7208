//! The kernels of a burst: what the host does between two passes otherwise.

use minijinja::context;

use crate::device::MOST_DISPATCHES;
use crate::kernel::{Kernel, kernels, shared};

/// Records that are kept: those of the passes under way, of which there are at most twice those of one submission.
pub(crate) const RING: u32 = 32;

/// How a burst stands. It goes on.
pub(crate) const RUNS: u32 = 0;
/// No label changed, or the centroids moved too little.
pub(crate) const CONVERGED: u32 = 1;
/// A cluster has no rows: the host goes on behind the sums.
pub(crate) const EMPTY: u32 = 2;
/// More rows are to be decided than there is room for: the host goes on with those.
pub(crate) const MANY: u32 = 3;

/// The screen left so many rows that it is given up.
pub(crate) const UNSCREENED: u32 = 4;
/// A number above every status.
pub(crate) const STATUSES: u32 = 8;

/// High word of what stands for a cluster without rows: no number has it.
const NO_ROWS: u32 = 0x7ff8_0000;

shared! {
    /// Where a burst stands.
    struct Standing {
        status: u32,
        /// Number of the pass.
        turn: u32,
        is_first: u32,
        /// Of the windows before: rows that changed, that the first tier left, and that were decided.
        changed: u32,
        listed: u32,
        left: u32,
    }

    /// What a pass came to.
    struct Record {
        /// [`STATUSES`] times the number of the pass, and the status behind it.
        mark: u32,
        changed: u32,
        /// Rows that the first tier left.
        listed: u32,
        /// Rows that were decided.
        left: u32,
        /// As `f64`, low word first; the number of the window where a pass came to no end.
        shift: [u32; 2],
        inertia: [u32; 2],
    }

    struct GateParams {
        /// Rows that the first tier may leave.
        listed: u32,
        /// Rows that the last one may.
        room: u32,
        /// Which of the counters tells how many those are.
        counter: u32,
        /// Number of the window.
        window: u32,
    }

    struct TallyParams { counter: u32 }

    struct CentroidParams {
        depth: u32,
        /// Columns of the sums.
        features: u32,
    }

    struct ControlParams {
        n_clusters: u32,
        counter: u32,
        /// Rows that the first tier may leave, or it is no screen worth having.
        most_listed: u32,
        padding: u32,
        /// Sum of the rows' weighted squares, as `f64`.
        total: [u32; 2],
        /// Largest squared shift that is none.
        tolerance: [u32; 2],
    }
}

kernels! {
    /// The kernel that lets the device decide, or not.
    fn gate_kernel() {
        let context = context! {
            runs => RUNS, many => MANY, statuses => STATUSES, ring => RING, most_dispatches => MOST_DISPATCHES,
        };
        let structs = [GateParams::WGSL, Standing::WGSL, Record::WGSL];
        Kernel::render("kmeans/burst/gate.wgsl", &structs, context)
    }

    /// The kernel that adds up what windows came to.
    fn tally_kernel() {
        Kernel::render("kmeans/burst/tally.wgsl", &[TallyParams::WGSL, Standing::WGSL], context! {})
    }

    /// The kernel that makes centroids of sums.
    fn centroid_kernel(weighted: bool, spherical: bool)
    for [weighted in [false, true], spherical in [false, true]] {
        let context = context! { weighted, spherical, no_rows => NO_ROWS };
        Kernel::render("kmeans/burst/centroid.wgsl", &[CentroidParams::WGSL], context)
    }

    /// The kernel that ends a pass.
    fn control_kernel() {
        let context = context! {
            runs => RUNS, converged => CONVERGED, empty => EMPTY, unscreened => UNSCREENED, statuses => STATUSES,
            no_rows => NO_ROWS, ring => RING, most_dispatches => MOST_DISPATCHES,
        };
        let structs = [ControlParams::WGSL, Standing::WGSL, Record::WGSL];
        Kernel::render("kmeans/burst/control.wgsl", &structs, context)
    }
}
