//! Callbacks, cancelling, checkpoints, and files of models: whatever stops and goes on again gives the same bits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ndarray::Array2;
use tilefold::kmeans::{self, Control, Fit, Init, Model, Params, Progress};
use tilefold::{Cancel, Device, ElementType, Error};

use crate::kmeans::Case;
use crate::kmeans_bits::same_bits;
use crate::support::backends::on_every_backend;
use crate::support::cases;

on_every_backend! {
    callback_sees_every_iteration, stop_ends_the_fit, cancelling_ends_a_fit_at_every_iteration,
    a_cancelled_token_ends_a_fit_at_once, a_model_stops_at_once, interrupted_fits_resume, stopped_fits_resume,
    a_fit_killed_after_every_iteration_ends_with_the_same_bits, larger_max_iter_goes_on,
    damaged_checkpoints_are_refused, models_survive_a_file,
    damaged_models_are_refused, forged_files_do_no_harm
}

fn points() -> Array2<f32> {
    cases::uniform(140, 4, 1.0, 60)
}

fn params() -> Params {
    Params::new(9).tol(0.0).seed(5)
}

fn callback_sees_every_iteration(device: &Device) {
    for n_init in [1, 3] {
        let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
        let sink = seen.clone();
        let told = params().n_init(n_init).callback(move |progress| {
            sink.lock().unwrap().push(*progress);
            Control::Continue
        });
        let fit = kmeans::fit(device, points().view(), &told).unwrap();
        let silent = kmeans::fit(device, points().view(), &params().n_init(n_init)).unwrap();
        same_bits(&fit, &silent, "with and without a callback");
        let seen = seen.lock().unwrap();
        let runs: Vec<&[Progress]> = seen.chunk_by(|left, right| left.run == right.run).collect();
        assert_eq!(runs.len(), n_init);
        for (index, run) in runs.iter().enumerate() {
            let counted =
                run.iter().enumerate().all(|(at, told)| told.iteration == at + 1 && told.run == index);
            assert!(counted && run.last().unwrap().changed == 0, "{run:?}");
        }
        // One of the runs is the kept one, iteration by iteration.
        let told = |run: &&&[Progress]| {
            run.len() == fit.history.len()
                && run.iter().zip(&fit.history).all(|(told, iteration)| {
                    (told.inertia, told.changed, told.shift)
                        == (iteration.inertia, iteration.changed, iteration.shift)
                })
        };
        assert!(runs.iter().any(|run| told(&run)), "{runs:?} {:?}", fit.history);
    }
}

fn stop_ends_the_fit(device: &Device) {
    let whole = kmeans::fit(device, points().view(), &params()).unwrap();
    for stop_at in 1..=whole.n_iter {
        let stopping = params().n_init(3).callback(move |progress| {
            assert_eq!(progress.run, 0, "a stopped fit must not start another run");
            if progress.iteration == stop_at { Control::Stop } else { Control::Continue }
        });
        let fit = kmeans::fit(device, points().view(), &stopping).unwrap();
        let shorter = kmeans::fit(device, points().view(), &params().max_iter(stop_at)).unwrap();
        same_bits(&fit, &shorter, "stopped, and with that max_iter");
        assert_eq!(fit.converged, stop_at == whole.n_iter);
    }
}

/// Cancels after so many iterations, counted over all runs.
fn cancel_after(params: Params, iterations: usize) -> Params {
    let (cancel, counter) = (Cancel::new(), AtomicUsize::new(0));
    let token = cancel.clone();
    params.cancel(cancel).callback(move |_| {
        if counter.fetch_add(1, Ordering::Relaxed) + 1 == iterations {
            token.cancel();
        }
        Control::Continue
    })
}

fn iterations_of(device: &Device, params: Params) -> usize {
    let counter = Arc::new(AtomicUsize::new(0));
    let count = counter.clone();
    let counting = params.callback(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Control::Continue
    });
    kmeans::fit(device, points().view(), &counting).unwrap();
    counter.load(Ordering::Relaxed)
}

fn cancelling_ends_a_fit_at_every_iteration(device: &Device) {
    let iterations = iterations_of(device, params());
    for at in 1..iterations {
        let error = kmeans::fit(device, points().view(), &cancel_after(params(), at)).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "after {at}: {error}");
    }
}

fn a_cancelled_token_ends_a_fit_at_once(device: &Device) {
    let cancel = Cancel::new();
    cancel.cancel();
    for init in [Init::PlusPlus, Init::Random, Init::Parallel] {
        let error =
            kmeans::fit(device, points().view(), &params().init(init).cancel(cancel.clone())).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
    }
}

fn a_model_stops_at_once(device: &Device) {
    let model = kmeans::fit(device, points().view(), &params()).unwrap().model;
    let rows = cases::uniform(5000, 4, 1.0, 65);
    type Run<'a> = &'a dyn Fn(&Cancel) -> tilefold::Result<()>;
    let each: [Run<'_>; 4] = [
        &|cancel| model.predict_with(device, rows.view(), cancel).map(drop),
        &|cancel| model.nearest_with(device, rows.view(), 3, cancel).map(drop),
        &|cancel| model.transform_with(device, rows.view(), cancel).map(drop),
        &|cancel| model.score_with(device, rows.view(), None, cancel).map(drop),
    ];
    for (at, run) in each.into_iter().enumerate() {
        let cancel = Cancel::new();
        run(&cancel).unwrap();
        // Looked at on the way too, not only before the first row.
        #[cfg(feature = "test-hooks")]
        assert!(cancel.polls() > 2, "{at}: {} polls", cancel.polls());
        cancel.cancel();
        assert!(matches!(run(&cancel), Err(Error::Cancelled)), "{at}");
    }
}

fn interrupted_fits_resume(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    for (n_init, weighted) in [(1, false), (1, true), (3, false)] {
        let mut plain = params().n_init(n_init).max_iter(6);
        if weighted {
            plain = plain.weights((0..140).map(|row| 1.0 + f64::from(row % 7)).collect());
        }
        let whole = kmeans::fit(device, points().view(), &plain).unwrap();
        let iterations = iterations_of(device, plain.clone());
        for at in 1..iterations {
            let path = folder.path().join(format!("{n_init}-{weighted}-{at}"));
            let kept = plain.clone().checkpoint(&path);
            let error = kmeans::fit(device, points().view(), &cancel_after(kept.clone(), at)).unwrap_err();
            assert!(matches!(error, Error::Cancelled), "after {at} of {iterations}: {error}");
            let resumed = kmeans::fit(device, points().view(), &kept).unwrap();
            same_bits(&resumed, &whole, &format!("n_init {n_init}, resumed after {at} of {iterations}"));
            // What is left over is a finished fit, which gives its result again at once.
            if device.name() != "reference" {
                assert_eq!(iterations_of(device, kept.clone()), 0);
            }
            same_bits(&kmeans::fit(device, points().view(), &kept).unwrap(), &whole, "once more");
        }
    }
}

fn stopped_fits_resume(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    for n_init in [1, 3] {
        let plain = params().n_init(n_init).max_iter(6);
        let whole = kmeans::fit(device, points().view(), &plain).unwrap();
        for at in 1..=iterations_of(device, plain.clone()) {
            let path = folder.path().join(format!("{n_init}-{at}"));
            let kept = plain.clone().checkpoint(&path);
            let counter = AtomicUsize::new(0);
            let stopping =
                kept.clone().callback(move |_| match counter.fetch_add(1, Ordering::Relaxed) + 1 {
                    count if count == at => Control::Stop,
                    _ => Control::Continue,
                });
            kmeans::fit(device, points().view(), &stopping).unwrap();
            let resumed = kmeans::fit(device, points().view(), &kept).unwrap();
            same_bits(&resumed, &whole, &format!("n_init {n_init}, resumed after a stop at {at}"));
        }
    }
}

/// Killed after every single iteration, all the way.
fn a_fit_killed_after_every_iteration_ends_with_the_same_bits(device: &Device) {
    if device.name() == "reference" {
        return; // It keeps no checkpoints, so it would start afresh for ever.
    }
    let folder = tempfile::tempdir().unwrap();
    let kept = params().n_init(2).checkpoint(folder.path().join("state"));
    let whole = kmeans::fit(device, points().view(), &params().n_init(2)).unwrap();
    for kills in 0.. {
        assert!(kills < 200, "the fit never ends");
        match kmeans::fit(device, points().view(), &cancel_after(kept.clone(), 1)) {
            Err(Error::Cancelled) => {}
            Err(error) => panic!("{error}"),
            Ok(fit) => {
                // A GPU keeps a checkpoint after eight iterations at most.
                let kept_at_once = if device.name().starts_with("cpu") { 1 } else { 8 };
                assert!(2 * kills * kept_at_once > whole.n_iter, "{kills} kills");
                return same_bits(&fit, &whole, "killed after every iteration");
            }
        }
    }
}

fn larger_max_iter_goes_on(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    // Thirds are no `f32`: centroids of a named type are not those that the iteration goes on with.
    let points = points().mapv(|value| f64::from(value) / 3.0);
    let (single, double) = (Some(ElementType::F32), Some(ElementType::F64));
    for (n_init, centroid_type) in [(1, None), (4, None), (4, single), (4, double)] {
        let mut base = params().n_init(n_init);
        base.centroid_type = centroid_type;
        let kept = base.clone().checkpoint(folder.path().join(format!("{n_init}-{centroid_type:?}")));
        let mut lengths = Vec::new();
        for max_iter in [1, 2, 4, 9, 300] {
            let what = format!("{n_init} runs, max_iter {max_iter}");
            let whole = kmeans::fit(device, points.view(), &base.clone().max_iter(max_iter)).unwrap();
            // Killed on the way, in one run after the other, the runs go on as well.
            let killed = cancel_after(kept.clone().max_iter(max_iter), 1 + max_iter / 2);
            let _cancelled = kmeans::fit(device, points.view(), &killed);
            let fit = kmeans::fit(device, points.view(), &kept.clone().max_iter(max_iter)).unwrap();
            same_bits(&fit, &whole, &what);
            lengths.push(fit.n_iter);
        }
        assert!(lengths[..3] == [1, 2, 4] && lengths[4] > 4, "nothing went on: {lengths:?}");
    }
}

/// Truncations and flipped bits, one in `step` of them, and bytes appended.
fn damages(content: &[u8], step: usize) -> Vec<Vec<u8>> {
    let cut = (0..content.len()).step_by(step).map(|length| content[..length].to_vec());
    let flipped = (0..8 * content.len()).step_by(3 * step).map(|bit| {
        let mut bytes = content.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    cut.chain(flipped).chain([[content, &[0]].concat(), [content, content].concat()]).collect()
}

fn damaged_checkpoints_are_refused(device: &Device) {
    if device.name() == "reference" {
        return; // It reads no checkpoints.
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let small = cases::uniform(8, 2, 1.0, 61);
    let kept = Params::new(3).max_iter(2).tol(0.0).n_init(2).checkpoint(&path);
    kmeans::fit(device, small.view(), &kept).unwrap();
    let content = std::fs::read(&path).unwrap();
    let data = kmeans::Data::new(device, small.view(), &kept).unwrap();
    // Files are read the same way for every device: all of it once, a sample on the slower ones.
    let step = if device.name().starts_with("cpu") { 1 } else { 19 };
    for damaged in damages(&content, step) {
        std::fs::write(&path, &damaged).unwrap();
        let error = data.fit(&kept).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{} bytes: {error}", damaged.len());
        assert_eq!(std::fs::read(&path).unwrap(), damaged);
    }
    // A model is no checkpoint.
    let model = data.fit(&Params::new(3)).unwrap().model;
    model.save(&path).unwrap();
    assert!(matches!(data.fit(&kept), Err(Error::Format { .. })));
}

/// Files whose checksum is right and whose words are not.
fn forgeries(content: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    const HEADER_BYTES: usize = 24;
    let words =
        [0, 1, 7, u64::MAX, 1 << 62, f64::NAN.to_bits(), f64::INFINITY.to_bits(), 1e300_f64.to_bits()];
    let end = content.len() - 4;
    (HEADER_BYTES..end - 7).step_by(8).flat_map(move |at| {
        words.map(|word| {
            let mut bytes = content[..end].to_vec();
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
            bytes
        })
    })
}

fn forged_files_do_no_harm(device: &Device) {
    if !device.name().starts_with("cpu") {
        return; // Files are read the same way for every device.
    }
    let folder = tempfile::tempdir().unwrap();
    let (model, state) = (folder.path().join("model"), folder.path().join("state"));
    let small = cases::uniform(8, 2, 1.0, 64);
    let kept = Params::new(3).max_iter(2).tol(0.0).n_init(2).checkpoint(&state);
    let fit = kmeans::fit(device, small.view(), &kept).unwrap();
    let (mut loaded, mut refused) = (0, 0);
    for forged in forgeries(&saved(&fit, &model)) {
        std::fs::write(&model, forged).unwrap();
        match Model::load(&model) {
            Err(Error::Format { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
            Ok(model) => {
                loaded += 1;
                let _ = model.predict(device, small.view());
                let _ = model.centroids();
            }
        }
    }
    assert!(loaded > 0 && refused > 0);
    for forged in forgeries(&std::fs::read(&state).unwrap()) {
        std::fs::write(&state, forged).unwrap();
        match kmeans::fit(device, small.view(), &kept) {
            Err(Error::Format { .. }) => {}
            Err(error) => panic!("{error}"),
            Ok(fit) => assert!(fit.labels.iter().all(|&label| label < 3)),
        }
    }
}

fn saved(fit: &Fit, path: &Path) -> Vec<u8> {
    fit.model.save(path).unwrap();
    std::fs::read(path).unwrap()
}

fn models_survive_a_file(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let far = cases::uniform(60, 3, 1.0, 62).mapv(|v| v * 4.0 + 1e6);
    for (points, spherical) in [(points(), false), (points(), true), (far, false)] {
        let params = Params::new(5).spherical(spherical).max_iter(3);
        let fit = kmeans::fit(device, points.view(), &params).unwrap();
        let bytes = saved(&fit, &path);
        let model = Model::load(&path).unwrap();
        assert_eq!(model, fit.model);
        let bits = |model: &Model| model.centroids().mapv(f64::to_bits);
        assert_eq!(bits(&model), bits(&fit.model));
        assert_eq!((model.inertia().to_bits(), model.n_iter()), (fit.inertia.to_bits(), fit.n_iter as u64));
        assert_eq!((model.converged(), model.spherical()), (fit.converged, spherical));
        assert_eq!((model.n_clusters(), model.columns()), (5, points.ncols()));
        assert_eq!(model.predict(device, points.view()).unwrap().labels, fit.labels);
        let again = folder.path().join("again");
        model.save(&again).unwrap();
        assert_eq!(std::fs::read(again).unwrap(), bytes, "saved again it is the same file");
    }
}

fn damaged_models_are_refused(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let case = Case::new(cases::uniform(9, 2, 1.0, 63), 2);
    let fit = kmeans::fit(device, case.points.view(), &case.params(2, 0.0)).unwrap();
    for damaged in damages(&saved(&fit, &path), 1) {
        std::fs::write(&path, &damaged).unwrap();
        let error = Model::load(&path).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{} bytes: {error}", damaged.len());
    }
    let missing = Model::load(folder.path().join("missing")).unwrap_err();
    assert!(matches!(missing, Error::File { action: "opening", .. }), "{missing}");
    assert!(matches!(fit.model.save(folder.path().join("no/such/folder")), Err(Error::File { .. })));
}
