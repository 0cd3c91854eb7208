//! A stop is heard wherever a clustering scans: the token is polled at least once per column of a pass.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use tilefold::kmedoids::{self, Dissimilarities, Init, Method, Params};
use tilefold::{Cancel, Device};

use crate::support::backends::on_every_backend;
use crate::support::cases::uniform;

on_every_backend!(every_first_choice_is_polled_for_each_column, every_method_is_polled_for_each_column);

const OBJECTS: usize = 90;

/// Polls of a clustering, beside those of checking its matrix.
fn polls(device: &Device, params: Params) -> usize {
    let points = uniform(OBJECTS, 3, 1.0, 1);
    let square = ndarray::Array2::from_shape_fn((OBJECTS, OBJECTS), |(row, column)| {
        (&points.row(row) - &points.row(column)).mapv(f32::abs).sum()
    });
    let cancel = Cancel::new();
    let given = Dissimilarities::from(square.view());
    kmedoids::fit(device, given, &params.cancel(cancel.clone())).unwrap();
    cancel.polls()
}

fn every_first_choice_is_polled_for_each_column(device: &Device) {
    // Without a swap little but the first choice is left.
    let of = |init| polls(device, Params::new(3).init(init).method(Method::FasterPam).max_iter(1));
    let without = of(Init::Given(vec![0, 1, 2]));
    for (init, columns) in [(Init::Build, 2 * OBJECTS), (Init::Heuristic, OBJECTS), (Init::Lab, OBJECTS / 3)]
    {
        // Searches from other medoids differ in their swaps, each of which is one poll.
        let polls = of(init.clone());
        assert!(polls >= columns, "{init:?}: {polls} polls, {without} from given medoids");
    }
}

fn every_method_is_polled_for_each_column(device: &Device) {
    let methods = [Method::FasterPam, Method::Pam, Method::FasterMsc, Method::PamMedSil, Method::Alternating];
    for method in methods {
        let polls = polls(device, Params::new(3).init(Init::Given(vec![0, 1, 2])).method(method));
        assert!(polls >= OBJECTS, "{method:?}: {polls} polls");
    }
}
