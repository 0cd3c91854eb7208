//! Files of fits: models and checkpoints.

use ndarray::{Array2, array};
use tilefold::Device;
use tilefold::kmeans::{Init, Model, Params, fit};

use crate::harness::{Parser, framed};

fn points() -> Array2<f32> {
    Array2::from_shape_fn((40, 3), |(row, column)| {
        ((row * 7 + column * 5) % 11) as f32 + (row % 3) as f32 * 20.0
    })
}

fn read(name: &std::path::Path) -> Vec<u8> {
    std::fs::read(name).unwrap()
}

#[test]
fn models() {
    let device = Device::cpu();
    let given = Model::from_centroids(&device, array![[0.0, 1.0], [5.0, -3.0], [1e9, 2.0]].view()).unwrap();
    let fitted = fit(&device, points().view(), &Params::new(3)).unwrap().model;
    let corpus = vec![("a.model", given.to_bytes()), ("b.model", fitted.to_bytes())];
    let parser =
        Parser { name: "models", corpus, words: &[], bytes_per_byte: 16, more_bytes: 1 << 16, mend: framed };
    parser.run(
        |path| Model::load(path),
        |_, model| {
            let bytes = model.to_bytes();
            assert_eq!(Model::from_bytes(&bytes).unwrap().to_bytes(), bytes);
            let points = Array2::<f32>::zeros((2, model.columns()));
            if let Ok(labelled) = model.predict(&device, points.view()) {
                assert!(labelled.labels.iter().all(|&label| (label as usize) < model.n_clusters()));
            }
        },
    );
}

/// A fit that finds a changed checkpoint refuses it, or ends as a fit does.
#[test]
fn checkpoints() {
    let device = Device::cpu();
    let points = points();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let params = |most| Params::new(3).seed(5).init(Init::Random).n_init(2).max_iter(most).checkpoint(&path);
    let mut corpus = Vec::new();
    for most in 1..4 {
        fit(&device, points.view(), &params(most)).unwrap();
        if path.exists() {
            corpus.push(("a.checkpoint", read(&path)));
            std::fs::remove_file(&path).unwrap();
        }
    }
    if corpus.is_empty() {
        panic!("no fit left a checkpoint");
    }
    let parser = Parser {
        name: "checkpoints",
        corpus,
        words: &[],
        bytes_per_byte: 64,
        more_bytes: 8 << 20,
        mend: framed,
    };
    parser.run(
        |changed| {
            std::fs::copy(changed, &path).unwrap();
            fit(&device, points.view(), &params(6))
        },
        |_, fitted| {
            assert!(fitted.labels.iter().all(|&label| label < 3));
            assert!(fitted.model.centroids().iter().all(|value| value.is_finite()));
        },
    );
}
