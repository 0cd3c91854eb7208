//! Labels by bytes against the nearest in `f64`, and bounds on distances against distances.

use super::*;
use crate::random::Stream;

const ROWS: usize = 480;
const COLUMNS: usize = 70;

/// Rows around columns, some of which lie close together, with values of about `scale`.
fn case(depth: usize, spread: f64, scale: f64, seed: u64) -> (Vec<f32>, Vec<f64>) {
    let (columns, noise) = (Stream::new(seed, 0), Stream::new(seed, 1));
    let column = |index: usize, d: usize| {
        // Every third column is a near copy of the one before.
        let (of, nudge) = if index % 3 == 2 { (index - 1, 1e-3) } else { (index, 0.0) };
        let at = |index: usize| columns.unit((index * depth + d) as u64) - 0.5;
        scale * (at(of) + nudge * at(index))
    };
    let centroids = (0..COLUMNS * depth).map(|at| column(at / depth, at % depth)).collect();
    let value = |row: usize, d: usize| {
        column(row % COLUMNS, d) + scale * spread * (noise.unit((row * depth + d) as u64) - 0.5)
    };
    ((0..ROWS * depth).map(|at| value(at / depth, at % depth) as f32).collect(), centroids)
}

struct Found {
    labels: Vec<u32>,
    upper: Vec<f32>,
    lower: Vec<f32>,
    screened: usize,
}

fn label(x: &[f32], book: &Columns, bytes: Option<&BytePanels>) -> Found {
    let depth = book.depth;
    let norms: Vec<f32> = x
        .chunks_exact(depth)
        .map(|x| bound::norm_above(x.iter().map(|&x| f64::from(x) * f64::from(x)).sum()))
        .collect();
    let (chain, largest) = (Panels::chain(depth), norms.iter().fold(0.0_f32, |a, &b| a.max(b)));
    let screen = book.screen(chain);
    let panels = Panels::new(book, &screen.half_norms);
    let tile = NearestTile { bytes, ..NearestTile::all(book, &panels, &screen, book.bound(chain, largest)) };
    let mut found =
        Found { labels: vec![0; ROWS], upper: vec![0.0; ROWS], lower: vec![0.0; ROWS], screened: 0 };
    let reach = Reach { upper: &mut found.upper, lower: &mut found.lower };
    let mut scratch = Scratch::new(ROWS, depth);
    found.screened = tile.label(x, &norms, &mut found.labels, Some(reach), &mut scratch).screened;
    found
}

/// Squared distances of a row to all columns.
fn squares(x: &[f32], centroids: &[f64]) -> Vec<f64> {
    let square = |c: &[f64]| c.iter().zip(x).map(|(c, &x)| (f64::from(x) - c) * (f64::from(x) - c)).sum();
    centroids.chunks_exact(x.len()).map(square).collect()
}

fn wrong(found: &Found, x: &[f32], centroids: &[f64], depth: usize) -> usize {
    let is_wrong = |(x, &label): (&[f32], &u32)| {
        let squares = squares(x, centroids);
        squares.iter().any(|&other| other < squares[label as usize])
    };
    x.chunks_exact(depth).zip(&found.labels).filter(|&pair| is_wrong(pair)).count()
}

#[test]
fn labels_and_reaches_are_right_and_need_rho() {
    let (mut screened, mut wrong_without) = (0, 0);
    for depth in [48, 49, 51, 64, 130, 784, 1100] {
        for spread in [0.02, 0.7, 3.0] {
            for scale in [1.0, 1e-7, 1e-20, 1e6] {
                let (x, centroids) = case(depth, spread, scale, depth as u64);
                let book = Columns::new(&centroids, depth);
                let mut bytes = BytePanels::of(&book);
                let found = label(&x, &book, Some(&bytes));
                let name = format!("{depth} features, spread {spread}, scale {scale}");
                assert_eq!(wrong(&found, &x, &centroids, depth), 0, "{name}");
                assert_eq!(found.labels, label(&x, &book, None).labels, "{name}");
                screened += found.screened;
                for (row, x) in x.chunks_exact(depth).enumerate() {
                    let mut squares = squares(x, &centroids);
                    let own = squares.swap_remove(found.labels[row] as usize).sqrt();
                    let other = squares.into_iter().fold(f64::INFINITY, f64::min).sqrt();
                    assert!(f64::from(found.upper[row]) >= own * (1.0 - 1e-12), "{name}, row {row}");
                    assert!(f64::from(found.lower[row]) <= other * (1.0 + 1e-12), "{name}, row {row}");
                }
                bytes.careless = true;
                wrong_without += wrong(&label(&x, &book, Some(&bytes)), &x, &centroids, depth);
            }
        }
    }
    println!("{screened} rows screened, {wrong_without} labels wrong without rho");
    assert!(screened > 5000 && wrong_without > 50, "{screened} {wrong_without}");
}
