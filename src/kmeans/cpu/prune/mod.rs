//! Exact pruning: rows whose label cannot have changed are not read, and the others meet only the centroids that may
//! be nearest.
//!
//! Each row keeps an upper bound u on the distance to the centroid c of its label and a lower bound l on the distance
//! to every other centroid (Hamerly, SDM 2010). When centroids move, u grows by the movement of c and l shrinks by
//! the largest movement of the others. What follows from the triangle inequality, in the order in which it is tried:
//!
//! 1. u < l: the label stays, no data is read.
//! 2. With s the distance from c to the nearest other centroid, every other centroid is at least s - u away. u < s - u:
//!    the label stays, no data is read.
//!    Of those within 2 u of c only the movement of the ones there counts in rule 1.
//! 3. The row is read and u is replaced by the distance itself. Both rules are tried again.
//! 4. A centroid k can only be nearer than c if |c - k| <= 2 u (Newling and Fleuret, *Fast k-means with accurate bounds*,
//!    ICML 2016). Rows of one label go through the register tile together, with the centroids of that ball alone, nearest
//!    to c first, and are certified as all rows are. The tile's values give the new u and l, and l is at most what rule 2
//!    says of the nearest centroid that was left out.
//!
//! Bounds are `f32`, rounded outwards at each step (`bounds`). "Nearer" means by a margin above the rounding of the
//! reference's own `f64` sums, so whatever is left out would not have been chosen by the reference either, nor tied.
//! Labels are therefore the same bits with and without; only time, products and the share of rechecked rows differ.
//!
//! Read in this order: `bounds` (the mathematics), `scan` (rules 1), `ball` (rules 2 to 4), `schedule` (when it pays).

pub(crate) mod ball;
pub(crate) mod bounds;
pub(crate) mod scan;
pub(crate) mod schedule;
