use super::super::plus_plus::squared_distance;
use super::super::screen::{LANES, Lanes, Margins, Screen};
use super::*;
use crate::data::Points;
use crate::random::Stream;

const ROWS: usize = 3000;

/// Clusters of a deviation around centres in a cube of 2, far from the origin where the offset is large.
fn points(columns: usize, deviation: f32, offset: f32) -> Vec<f32> {
    let (centres, noise) = (Stream::new(3, 0), Stream::new(3, 1));
    let value = |row: usize, column: usize| {
        let centre = centres.unit((row % 40 * columns + column) as u64) as f32 * 2.0 - 1.0;
        offset + centre + deviation * (noise.unit((row * columns + column) as u64) as f32 - 0.5)
    };
    (0..ROWS * columns).map(|at| value(at / columns, at % columns)).collect()
}

struct Case<'p> {
    problem: Problem<'p>,
    margins: Margins,
    x: Vec<f32>,
    /// Distances to the nearest of the first rows.
    closest: Vec<f32>,
    packed: Vec<Lanes>,
    candidates: Vec<usize>,
}

impl<'p> Case<'p> {
    fn new(points: &'p [f32], columns: usize, chosen: usize, candidates: usize) -> Self {
        let view = ndarray::ArrayView2::from_shape((ROWS, columns), points).unwrap();
        let problem = Problem::new(Points::from(view), None, false, &Cancel::new()).unwrap();
        let mut x = vec![0.0; points.len()];
        problem.load(0, &mut x).unwrap();
        let row = |row: usize| &x[row * columns..(row + 1) * columns];
        let nearest = |at: usize| {
            (0..chosen).fold(f32::MAX, |closest, first| closest.min(squared_distance(row(at), row(first))))
        };
        let closest = (0..ROWS).map(nearest).collect();
        let candidates: Vec<usize> = (0..candidates).map(|candidate| 77 + 13 * candidate).collect();
        let mut packed = vec![[0.0; LANES]; columns];
        for (lane, &candidate) in candidates.iter().enumerate() {
            packed.iter_mut().zip(row(candidate)).for_each(|(lanes, &value)| lanes[lane] = value);
        }
        Self { margins: Margins::new(columns), problem, x, closest, packed, candidates }
    }

    fn panels(&self, bytes: &ByteScreen) -> BytePanels {
        let screen = Screen::new(self.margins, &self.packed, self.candidates.len());
        bytes.candidates(&self.packed, self.candidates.len(), &screen)
    }

    /// The rows of `index` that may be near to a candidate.
    fn near(&self, bytes: &ByteScreen, panels: &BytePanels, mut index: Vec<usize>) -> Vec<usize> {
        let share = |row: usize| self.margins.share(self.problem.norms[row], self.closest[row]);
        bytes.keep_near(&self.problem, panels, &mut index, &mut ByteRows::default(), share);
        index
    }

    fn kept(&self, bytes: &ByteScreen, panels: &BytePanels) -> Vec<usize> {
        self.near(bytes, panels, (0..ROWS).collect())
    }

    /// Rows that are not in `kept` though a candidate is nearer than what they have.
    fn lost(&self, kept: &[usize]) -> usize {
        let columns = self.problem.columns;
        let row = |row: usize| &self.x[row * columns..(row + 1) * columns];
        let gains = |at: usize| {
            self.candidates
                .iter()
                .any(|&candidate| squared_distance(row(at), row(candidate)) < self.closest[at])
        };
        (0..ROWS).filter(|at| kept.binary_search(at).is_err() && gains(*at)).count()
    }
}

fn bytes(case: &Case) -> ByteScreen {
    ByteScreen::of(&case.problem, &Cancel::new()).unwrap().unwrap()
}

/// Nothing that gains is dropped, whatever the sizes; bytes without what they leave out would drop some.
#[test]
fn rows_that_gain_are_kept() {
    let (mut dropped, mut lost_without_rho) = (0, 0);
    for columns in [1, 2, 3, 4, 5, 31, 128, 130] {
        for (deviation, offset) in [(0.01, 0.0), (0.5, 0.0), (4.0, 0.0), (0.5, 1e6), (1e-20, 0.0)] {
            for (chosen, candidates) in [(1, 2), (30, 8), (90, 9), (90, 16)] {
                let points = points(columns, deviation, offset);
                let case = Case::new(&points, columns, chosen, candidates);
                let bytes = bytes(&case);
                let mut panels = case.panels(&bytes);
                let kept = case.kept(&bytes, &panels);
                assert_eq!(case.lost(&kept), 0, "{columns} columns, deviation {deviation}, {chosen} chosen");
                dropped += ROWS - kept.len();
                panels.careless = true;
                lost_without_rho += case.lost(&case.kept(&bytes, &panels));
            }
        }
    }
    println!("{dropped} rows dropped, {lost_without_rho} wrongly without rho");
    assert!(dropped > 100_000 && lost_without_rho > 100);
}

/// Instructions for bytes decide as plain Rust does, and each row alone, also the last rows of an index that fills no block.
#[test]
fn instructions_decide_as_plain_rust() {
    for (columns, candidates) in [(3, 5), (64, 8), (100, 16)] {
        let points = points(columns, 0.5, 0.0);
        let case = Case::new(&points, columns, 30, candidates);
        let bytes = bytes(&case);
        let panels = case.panels(&bytes);
        let all = case.kept(&bytes, &panels);
        let plain = ByteScreen { level: Level::Portable, ..self::bytes(&case) };
        assert_eq!(all, case.kept(&plain, &case.panels(&plain)), "{columns} columns");
        for index in [vec![0, 1, 2, 3, 4, 5, 6, 7], vec![5, 900, 77, 77, 2999, 12, 0, 1]] {
            let is_kept = |row: &usize| all.binary_search(row).is_ok();
            let expected: Vec<usize> = index.iter().copied().filter(is_kept).collect();
            assert_eq!(case.near(&bytes, &panels, index), expected);
        }
        for length in [0, 1, 7, 8, 9, 13, 17] {
            let index: Vec<usize> = (100..100 + length).collect();
            let expected: Vec<usize> = all.iter().copied().filter(|row| index.contains(row)).collect();
            assert_eq!(case.near(&bytes, &panels, index), expected, "{columns} columns, {length} rows");
        }
    }
}
