//! Planted faults: each must be caught by the comparison that is meant for it, and an honest pair must pass.

use super::cases::Draws;
use super::compare::{
    Candidate, Distances, Guarded, MARKER, WIDE_MARKER, Wide, close, lowest_index, must, nearest, neighbours,
    product_bound,
};

/// The honest pair: products of rows summed in f64, the same sums in f32, and their derived bound.
struct Pair {
    oracle: Vec<f64>,
    candidate: Vec<f32>,
    bounds: Vec<f64>,
}

fn honest(depth: usize) -> Pair {
    let mut draws = Draws::new(11);
    let mut pair = Pair { oracle: Vec::new(), candidate: Vec::new(), bounds: Vec::new() };
    for _ in 0..97 {
        let mut draw_row = || (0..depth).map(|_| draws.normal() as f32).collect::<Vec<f32>>();
        let (left, right) = (draw_row(), draw_row());
        let products = left.iter().zip(&right).map(|(&a, &b)| f64::from(a) * f64::from(b));
        pair.oracle.push(products.clone().sum());
        pair.candidate.push(left.iter().zip(&right).map(|(a, b)| a * b).sum());
        pair.bounds.push(product_bound(depth, products.map(f64::abs).sum()));
    }
    pair
}

impl Pair {
    fn judge(&self) -> Result<(), super::compare::Mismatch> {
        close(&self.oracle, &self.candidate, |index| self.bounds[index])
    }

    /// Plants one fault into an honest pair; it must be caught and described by `mention`.
    #[track_caller]
    fn refused(mut self, mention: &str, plant: impl FnOnce(&mut Pair)) {
        must(self.judge());
        plant(&mut self);
        let mismatch = self.judge().expect_err("the planted fault must be caught");
        assert!(mismatch.mentions(mention), "{mismatch}");
    }
}

#[test]
fn an_honest_pair_passes() {
    for depth in [1, 2, 63, 64, 65, 1000] {
        must(honest(depth).judge());
    }
    must(close::<f32>(&[], &[], |_| 0.0));
}

#[test]
fn the_bound_is_not_a_wide_net() {
    honest(64).refused("within", |pair| pair.candidate[3] *= 1.0 + 1e-3);
}

#[test]
fn nan_is_caught() {
    honest(64).refused("NaN", |pair| pair.candidate[50] = f32::NAN);
}

#[test]
fn infinity_is_caught() {
    honest(64).refused("inf", |pair| pair.candidate[0] = f32::INFINITY);
    honest(64).refused("inf", |pair| pair.candidate[0] = f32::NEG_INFINITY);
}

#[test]
fn equal_infinities_are_no_agreement() {
    honest(64).refused("oracle itself", |pair| {
        (pair.oracle[1], pair.candidate[1]) = (f64::INFINITY, f32::INFINITY);
    });
}

#[test]
fn both_negative_is_caught() {
    // A test of `got - expected <= bound` without the magnitude lets every value that is too small through.
    honest(64).refused("within", |pair| {
        (pair.oracle[2], pair.candidate[2]) = (-1.0, -1000.0);
    });
}

#[test]
fn a_lost_sign_is_caught() {
    honest(64).refused("[7]", |pair| pair.candidate[7] = -pair.candidate[7]);
}

#[test]
fn an_element_never_written_is_caught() {
    honest(64).refused("never written", |pair| pair.candidate[96] = MARKER);
    let all = close(&[0.0; 9], &[MARKER; 9], |_| 1e30).expect_err("nothing was written");
    assert_eq!(all.offenders(), 9);
}

#[test]
fn a_wrong_last_element_is_caught() {
    honest(64).refused("[96]", |pair| *pair.candidate.last_mut().expect("not empty") += 1.0);
}

#[test]
fn a_wrong_length_is_caught() {
    honest(64).refused("length 96", |pair| pair.candidate.truncate(96));
    honest(64).refused("length 98", |pair| pair.candidate.push(0.0));
    honest(64).refused("length 0", |pair| pair.candidate.clear());
}

#[test]
fn nan_in_the_oracle_or_the_bound_is_caught() {
    honest(64).refused("oracle itself", |pair| pair.oracle[4] = f64::NAN);
    honest(64).refused("bound itself", |pair| pair.bounds[4] = f64::NAN);
    honest(64).refused("bound itself", |pair| pair.bounds[4] = f64::INFINITY);
    honest(64).refused("bound itself", |pair| pair.bounds[4] = -1.0);
}

#[test]
fn wide_candidates_are_held_to_f64() {
    must(close(&[1.0, -2.0], &[Wide(1.0), Wide(-2.0)], |_| 1e-15));
    close(&[1.0], &[Wide(f64::from(1.0_f32 + f32::EPSILON))], |_| 1e-15).expect_err("an f32 rounding");
    let marker = close(&[1.0], &[Wide(WIDE_MARKER)], |_| 1.0).expect_err("the marker");
    assert!(marker.mentions("never written"), "{marker}");
}

#[test]
fn a_report_is_short() {
    let many = close(&[0.0; 1000], &[1.0_f32; 1000], |_| 0.0).expect_err("all differ").to_string();
    assert!(many.starts_with("1000 of 1000") && many.lines().count() == 6, "{many}");
}

/// Three rows, four candidates; row 2 has an exact tie of 0 and 3.
const DISTANCES: Distances<'static> =
    Distances { values: &[4.0, 1.0, 9.0, 2.0, 0.5, 3.0, 3.5, 8.0, 2.0, 6.0, 7.0, 2.0], columns: 4 };

#[test]
fn honest_labels_pass() {
    must(nearest(DISTANCES, &[1_u32, 0, 3], |_| 0.0));
    must(lowest_index(DISTANCES, &[1_i32, 0, 0]));
    must(neighbours(DISTANCES, &[1_i64, 3, 0, 1, 3, 0], 2, |_| 0.0));
    must(nearest(DISTANCES, &[3_u32, 0, 0], |_| 1.0));
}

#[test]
fn wrong_labels_are_caught() {
    let refused = |labels: &[i32], mention: &str| {
        let mismatch = nearest(DISTANCES, labels, |_| 0.0).expect_err("the planted fault must be caught");
        assert!(mismatch.mentions(mention), "{mismatch}");
    };
    refused(&[0, 1, 3], "row 0"); // two labels swapped
    refused(&[1, 0, 4], "out of range");
    refused(&[1, -1, 3], "out of range");
    refused(&[1, 0], "length 2");
    refused(&[1, 0, 0, 0], "length 4");
    let high = lowest_index(DISTANCES, &[1_u32, 0, 3]).expect_err("the tie went to the higher index");
    assert!(high.mentions("row 2"), "{high}");
}

#[test]
fn wrong_neighbours_are_caught() {
    let refused = |indices: &[u32], mention: &str| {
        let mismatch =
            neighbours(DISTANCES, indices, 2, |_| 0.0).expect_err("the planted fault must be caught");
        assert!(mismatch.mentions(mention), "{mismatch}");
    };
    refused(&[1, 3, 0, 1, 0, 0], "twice");
    refused(&[3, 1, 0, 1, 0, 3], "row 0"); // right set, wrong order
    refused(&[1, 3, 0, 2, 0, 3], "row 1"); // third instead of second
}

#[test]
fn broken_certificates_are_caught() {
    let with =
        |values: &[f64], columns, bound: f64| nearest(Distances { values, columns }, &[0_u32], |_| bound);
    must(with(&[1.0, 2.0], 2, 0.0));
    with(&[1.0, f64::NAN], 2, 0.0).expect_err("NaN in the oracle");
    with(&[1.0, 2.0], 2, f64::NAN).expect_err("NaN as bound");
    with(&[1.0, 2.0], 2, f64::INFINITY).expect_err("a bound that lets everything through");
    with(&[1.0, 2.0, 3.0], 2, 0.0).expect_err("an oracle that is not a table");
    with(&[], 0, 0.0).expect_err("no candidates at all");
}

#[test]
fn writes_outside_the_output_are_caught() {
    let mut guarded = Guarded::new(3);
    guarded.output().copy_from_slice(&[1.0, 2.0, 3.0]);
    assert_eq!(must(guarded.finish()), [1.0, 2.0, 3.0]);
    for outside in [0, 63, 67, 130] {
        let mut guarded = Guarded::new(3);
        guarded.everything()[outside] = 0.0;
        guarded.finish().expect_err("a write outside");
    }
    let untouched = must(Guarded::new(2).finish());
    assert!(untouched.iter().all(|value| value.is_marker()));
}
