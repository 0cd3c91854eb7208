//! What the metrics refuse, and their values at the edges of their domains.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use ndarray::{Array2, array};
use tilefold::distance::{Metric, Params, between, pairwise};
use tilefold::{Device, Error, Points};

use crate::support::backends::on_every_backend;

on_every_backend! {
    values_at_the_edges_are_the_documented_ones, values_outside_the_domain_are_refused,
    parameters_are_refused, missing_values_are_left_out, packed_input_is_checked,
    infinite_results_are_refused, integers_that_f64_would_round_are_refused
}

const BITS: [Metric; 7] = [
    Metric::Jaccard,
    Metric::Dice,
    Metric::RogersTanimoto,
    Metric::RussellRao,
    Metric::SokalSneath,
    Metric::Yule,
    Metric::Matching,
];

fn value(device: &Device, metric: Metric, x: &[f32], y: &[f32]) -> f32 {
    let row = |row: &[f32]| Array2::from_shape_vec((1, row.len()), row.to_vec()).unwrap();
    let found = between(device, row(x).view(), row(y).view(), &Params::new(metric)).unwrap();
    found.matrix.as_f32().unwrap()[[0, 0]]
}

fn values_at_the_edges_are_the_documented_ones(device: &Device) {
    // Rows of zeros: 0/0 counts as 0.
    for metric in BITS {
        let expected = if metric == Metric::RussellRao { 1.0 } else { 0.0 };
        assert_eq!(value(device, metric, &[0.0; 5], &[0.0; 5]), expected, "{metric}");
        let expected = f32::from(u8::from(metric != Metric::Yule));
        assert_eq!(value(device, metric, &[0.0; 5], &[1.0; 5]), expected, "{metric}");
        assert_eq!(value(device, metric, &[1.0; 5], &[1.0; 5]), 0.0, "{metric}");
    }
    for metric in
        [Metric::Canberra, Metric::BrayCurtis, Metric::MultisetJaccard, Metric::Hamming, Metric::Hellinger]
    {
        assert_eq!(value(device, metric, &[0.0; 3], &[0.0; 3]), 0.0, "{metric}");
    }
    assert_eq!(value(device, Metric::Canberra, &[1.0, 0.0, -2.0], &[-1.0, 0.0, 2.0]), 2.0);
    assert_eq!(value(device, Metric::Canberra, &[1e-30, 3e38], &[3e-30, 1e38]), 1.0);
    assert_eq!(value(device, Metric::BrayCurtis, &[3e38, 0.0], &[0.0, 3e38]), 1.0);
    assert_eq!(value(device, Metric::BrayCurtis, &[1e-38, 0.0], &[0.0, 3e-38]), 1.0);
    assert_eq!(value(device, Metric::MultisetJaccard, &[1.0, 2.0, 0.0], &[2.0, 1.0, 1.0]), 0.6);
    // Zeros of both signs are equal; the smallest numbers are not 0.
    assert_eq!(value(device, Metric::Hamming, &[0.0, 1e-42, 1.0, 5.0], &[-0.0, 0.0, 1.0, 6.0]), 0.5);
    assert_eq!(value(device, Metric::Yule, &[1.0, 0.0, 1.0, 0.0], &[0.0, 1.0, 0.0, 1.0]), 2.0);
    // Distributions with nothing in common.
    let found = value(device, Metric::JensenShannon, &[1.0, 0.0], &[0.0, 3.0]);
    assert!((f64::from(found) - 2.0_f64.ln().sqrt()).abs() < 1e-6, "{found}");
    assert!((value(device, Metric::Hellinger, &[1.0, 0.0], &[0.0, 1.0]) - 1.0).abs() < 1e-6);
    // Shares of a sum beyond the range of f32.
    assert_eq!(value(device, Metric::JensenShannon, &[3e38, 3e38, 3e38], &[1e-38, 1e-38, 1e-38]), 0.0);
    let found = value(device, Metric::KullbackLeibler, &[0.5, 0.0, 0.5], &[1.0, 1e-30, 1.0]);
    assert!(found.abs() < 1e-6, "{found}");
    let found = value(device, Metric::KullbackLeibler, &[1.0, 1.0], &[1.0, 1e-30]);
    assert!((f64::from(found) - (0.5 * 1e30_f64.ln() - 2.0_f64.ln())).abs() < 1e-4, "{found}");
    let found = value(device, Metric::Correlation, &[1e6, 1e6 + 1.0, 1e6 + 2.0], &[-3.0, -5.0, -7.0]);
    assert!((found - 2.0).abs() < 1e-6, "{found}");
}

#[track_caller]
fn refused(outcome: Result<tilefold::distance::Distances, Error>, name: &str, at: [usize; 2], text: &str) {
    match outcome {
        Err(Error::Value { argument, row, column, expected, .. }) => {
            assert_eq!((argument, [row, column]), (name, at));
            assert!(expected.contains(text), "{expected}");
        }
        other => panic!("{other:?}"),
    }
}

fn values_outside_the_domain_are_refused(device: &Device) {
    let good = array![[0.0_f32, 1.0], [1.0, 0.0], [0.0, 1.0]];
    let with = |value: f32| {
        let mut bad = good.clone();
        bad[[2, 1]] = value;
        bad
    };
    let not_negative =
        [Metric::MultisetJaccard, Metric::Hellinger, Metric::JensenShannon, Metric::KullbackLeibler];
    for metric in not_negative {
        let params = Params::new(metric);
        refused(pairwise(device, with(-0.1).view(), &params), "x", [2, 1], "at least 0");
        refused(between(device, good.view(), with(-0.1).view(), &params), "y", [2, 1], "at least 0");
    }
    for metric in BITS {
        let bits = array![[0.0_f32, 1.0], [1.0, 1.0], [1.0, 2.0]];
        refused(pairwise(device, bits.view(), &Params::new(metric)), "x", [2, 1], "0 or 1");
        let bytes = array![[0_u8, 1], [1, 1]];
        assert!(pairwise(device, bytes.view(), &Params::new(metric)).is_ok(), "{metric}");
    }
    for (metric, text) in
        [(Metric::JensenShannon, "zeros"), (Metric::KullbackLeibler, "zeros"), (Metric::Cosine, "zeros")]
    {
        let zeros = array![[1.0_f32, 1.0], [0.0, 0.0]];
        refused(pairwise(device, zeros.view(), &Params::new(metric)), "x", [1, 0], text);
    }
    let constant = array![[1.0_f32, 2.0], [0.1, 0.1]];
    refused(pairwise(device, constant.view(), &Params::new(Metric::Correlation)), "x", [1, 0], "equal");
    let haversine = Params::new(Metric::Haversine);
    refused(pairwise(device, array![[45.0_f32, 7.0]].view(), &haversine), "x", [0, 0], "radians");
    refused(pairwise(device, array![[0.5_f32, 7.0]].view(), &haversine), "x", [0, 1], "radians");
    let outcome = pairwise(device, array![[0.5_f32, 0.5, 0.5]].view(), &haversine);
    assert!(matches!(outcome, Err(Error::Shape { argument: "x", .. })), "{outcome:?}");
    for metric in Metric::ALL {
        if matches!(metric, Metric::BitHamming | Metric::BitJaccard) {
            continue;
        }
        let params = crate::distance_metrics::with_parameters(metric, 2);
        refused(pairwise(device, with(f32::INFINITY).view(), &params), "x", [2, 1], "finite");
        if metric != Metric::NanEuclidean {
            refused(pairwise(device, with(f32::NAN).view(), &params), "x", [2, 1], "finite");
        }
    }
}

fn parameters_are_refused(device: &Device) {
    let x = array![[1.0_f32, 2.0], [3.0, 5.0]];
    let fails = |params: &Params, name: &str| {
        let message = pairwise(device, x.view(), params).unwrap_err().to_string();
        assert!(message.starts_with(name), "{message}");
    };
    fails(&Params::new(Metric::Minkowski).p(0.0), "p: expected");
    fails(&Params::new(Metric::Minkowski).weights(vec![1.0; 3]), "weights: expected 2");
    fails(&Params::new(Metric::Manhattan).p(1.0), "p: expected metric minkowski");
    fails(&Params::new(Metric::StandardizedEuclidean), "variances: expected");
    fails(&Params::new(Metric::StandardizedEuclidean).variances(vec![1.0, -1.0]), "variances[0, 1]");
    fails(&Params::new(Metric::Mahalanobis), "inverse_covariance: expected");
    let indefinite = array![[1.0, 3.0], [3.0, 1.0]];
    fails(&Params::new(Metric::Mahalanobis).inverse_covariance(indefinite), "inverse_covariance[");
    // A covariance of lower rank: differences along its null space do not count.
    let singular = array![[1.0, -1.0], [-1.0, 1.0]];
    let params = Params::new(Metric::Mahalanobis).inverse_covariance(singular);
    let found = pairwise(device, x.view(), &params).unwrap().matrix.into_f64();
    assert!((found[[0, 1]] - 1.0).abs() < 1e-6, "{found}");
}

fn missing_values_are_left_out(device: &Device) {
    let nan = f32::NAN;
    let x =
        array![[3.0_f32, nan, nan, 6.0], [1.0, nan, 4.0, 5.0], [nan, nan, nan, nan], [nan, 2.0, nan, nan]];
    let params = Params::new(Metric::NanEuclidean);
    let found = pairwise(device, x.view(), &params).unwrap();
    let found = found.matrix.as_f32().unwrap();
    // sqrt(4 / 2 ((3 - 1)^2 + (6 - 5)^2)).
    assert!((f64::from(found[[0, 1]]) - 10.0_f64.sqrt()).abs() < 1e-6, "{found}");
    assert_eq!((found[[0, 0]], found[[3, 3]]), (0.0, 0.0));
    assert!((0..4).all(|row| found[[2, row]].is_nan() && found[[row, 2]].is_nan()), "{found}");
    assert!(found[[3, 0]].is_nan() && found[[1, 3]].is_nan(), "{found}");
}

fn packed_input_is_checked(device: &Device) {
    let params = Params::new(Metric::BitHamming);
    let (bytes, words) = (array![[1_u8, 3]], array![[1_u32, 3]]);
    let outcome = pairwise(device, array![[1.0_f32, 3.0]].view(), &params);
    assert!(matches!(outcome, Err(Error::Shape { argument: "x", .. })), "{outcome:?}");
    let outcome = between(device, Points::from(bytes.view()), words.view(), &params);
    assert!(matches!(outcome, Err(Error::Shape { argument: "y", .. })), "{outcome:?}");
    let found = between(device, words.view(), array![[0_u32, 0]].view(), &params).unwrap();
    assert_eq!(found.matrix.as_f32().unwrap()[[0, 0]], 3.0);
}

fn infinite_results_are_refused(device: &Device) {
    let x = array![[0.5_f32, 0.5], [1.0, 0.0]];
    refused(
        pairwise(device, x.view(), &Params::new(Metric::KullbackLeibler)),
        "result",
        [0, 1],
        "y may be 0",
    );
    let x = array![[0.5_f32, -0.25], [-0.5, 0.25]];
    refused(pairwise(device, x.view(), &Params::new(Metric::BrayCurtis)), "result", [0, 1], "sums to 0");
}

/// Beyond 2^53 rows that differ would be equal, and differences wrong.
fn integers_that_f64_would_round_are_refused(device: &Device) {
    let large = (1_i64 << 53) + 1;
    let x = array![[large, 5], [large - 1, 5]];
    let whole = x.mapv(|value| value - (1 << 53));
    for metric in Metric::ALL {
        let found = pairwise(device, x.view(), &Params::new(metric));
        match metric {
            Metric::Cosine | Metric::InnerProduct => assert!(found.is_ok(), "{metric}"),
            // They have no value without their parameters.
            Metric::StandardizedEuclidean | Metric::Mahalanobis | Metric::Minkowski => {}
            _ => {
                let text = found.unwrap_err().to_string();
                let got = "got 9007199254740993 in row 0, column 0";
                assert!(
                    text.starts_with("x: expected integers that f64 holds") && text.ends_with(got),
                    "{text}"
                );
            }
        }
    }
    let hamming = Params::new(Metric::Hamming);
    let error = between(device, whole.view(), x.mapv(|value| value as u64).view(), &hamming).unwrap_err();
    assert!(matches!(error, Error::Parameter { name: "y", .. }), "{error}");
    let found = pairwise(device, whole.view(), &hamming).unwrap();
    assert_eq!(found.matrix.as_f64().unwrap()[[0, 1]], 0.5);
    let found = pairwise(device, array![[1_i64 << 62, 5], [(1 << 62) + 1024, 5]].view(), &hamming).unwrap();
    assert_eq!(found.matrix.as_f64().unwrap()[[0, 1]], 0.5, "numbers of 53 bits are exact");
}
