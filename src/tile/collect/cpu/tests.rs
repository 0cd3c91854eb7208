//! Lists and hits by bytes against values in `f64`.

use super::*;
use crate::random::Stream;
use crate::tile::operands::columns;

const ROWS: usize = 100;
const COLUMNS: usize = 300;
const COUNT: usize = 5;

/// Columns around a few centres, and rows around them.
struct Case {
    depth: usize,
    x: Vec<f32>,
    columns: Vec<f64>,
}

impl Case {
    fn new(depth: usize, spread: f64, scale: f64) -> Self {
        let draws = Stream::new(depth as u64, 3);
        let value = |row: usize, d: usize| {
            let centre = draws.unit((row % 7 * depth + d) as u64) - 0.5;
            scale * (centre + spread * (draws.unit(((row + 7) * depth + d) as u64) - 0.5))
        };
        let table = |first: usize, count: usize| {
            (0..count * depth).map(|at| value(first + at / depth, at % depth)).collect::<Vec<f64>>()
        };
        let mut columns = table(ROWS, COLUMNS);
        // Beside the others these are nothing, one of them really.
        columns[..depth].fill(0.0);
        columns[depth..2 * depth].iter_mut().for_each(|c| *c *= 1e-12);
        columns[2 * depth..3 * depth].iter_mut().for_each(|c| *c *= 1e-3);
        Self { depth, x: table(0, ROWS).into_iter().map(|x| x as f32).collect(), columns }
    }

    fn square(&self, row: usize) -> f64 {
        self.x[row * self.depth..(row + 1) * self.depth].iter().map(|&x| f64::from(x).powi(2)).sum()
    }

    fn product(&self, row: usize, column: usize) -> f64 {
        let [x, c] = [row, column].map(|at| at * self.depth..(at + 1) * self.depth);
        self.x[x].iter().zip(&self.columns[c]).map(|(&x, c)| f64::from(x) * c).sum()
    }

    /// Rows without limits, and columns as bytes or not.
    fn prepare(&self, book: &columns::Columns, is_bytes: bool) -> (Block, Packed, Vec<f32>) {
        assert_eq!(book.len(), COLUMNS, "the columns of the test differ");
        let chain = Panels::chain(self.depth);
        let largest = (0..ROWS).map(|row| length_of(self.square(row))).fold(0.0, f32::max);
        let (screen, bound) = (book.screen(chain), book.bound(chain, largest));
        let mut block = Block::new(ROWS, self.depth);
        block.x[..self.x.len()].copy_from_slice(&self.x);
        for row in 0..ROWS {
            block.lengths[row] = length_of(self.square(row));
            block.lists[row].gap = 2.0 * f64::from(bound.shared(block.lengths[row]));
        }
        let packed = if is_bytes {
            let lengths: Vec<f32> = book.squares().iter().map(|&square| length_of(square)).collect();
            let rows = book.rounded.clone();
            Packed::Bytes(ByteColumns::new(self.depth, rows, screen.half_norms, &lengths))
        } else {
            Packed::Single(Panels::of_rows(self.depth, &book.rounded, &screen.half_norms))
        };
        (block, packed, screen.errors)
    }
}

/// How many of the nearest columns lists lack, and how many columns they hold.
fn lists(case: &Case, (mut block, packed, errors): (Block, Packed, Vec<f32>)) -> (usize, usize) {
    let numbers: Vec<u32> = (0..COLUMNS as u32).collect();
    let columns = Columns { packed: &packed, errors: &errors, numbers: &numbers };
    block.collect(&columns, Some(COUNT), &mut Sums::default());
    let (mut lacking, mut held) = (0, 0);
    for row in 0..ROWS {
        block.tighten(row, COUNT);
        let mut found: Vec<u32> = block.lists[row].entries.iter().map(|entry| entry.column).collect();
        held += found.len();
        found.sort_unstable();
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "row {row} has a column twice");
        let square = |column: usize| {
            let c = &case.columns[column * case.depth..(column + 1) * case.depth];
            0.5 * c.iter().map(|c| c * c).sum::<f64>() - case.product(row, column)
        };
        let mut nearest: Vec<(f64, u32)> =
            (0..COLUMNS).map(|column| (square(column), column as u32)).collect();
        nearest.sort_by(|a, b| a.0.total_cmp(&b.0));
        let is_lacking = |(_, column): &&(f64, u32)| found.binary_search(column).is_err();
        lacking += nearest[..COUNT].iter().filter(is_lacking).count();
    }
    (lacking, held)
}

fn careless(mut prepared: (Block, Packed, Vec<f32>)) -> (Block, Packed, Vec<f32>) {
    if let Packed::Bytes(columns) = &mut prepared.1 {
        columns.panels.careless = true;
    }
    prepared
}

fn cases(mut each: impl FnMut(&str, &Case)) {
    for depth in [48, 51, 130, 784] {
        for spread in [0.001, 0.1, 2.0] {
            for scale in [1.0, 1e-7, 1e-20, 1e6] {
                let name = format!("{depth} features, spread {spread}, scale {scale}");
                each(&name, &Case::new(depth, spread, scale));
            }
        }
    }
}

#[test]
fn lists_hold_the_nearest_and_need_rho() {
    let (mut held, mut held_plainly, mut lacking) = (0, 0, 0);
    cases(|name, case| {
        let book = columns::Columns::new(&case.columns, case.depth);
        let (none, by_bytes) = lists(case, case.prepare(&book, true));
        assert_eq!(none, 0, "{name}");
        held += by_bytes;
        held_plainly += lists(case, case.prepare(&book, false)).1;
        lacking += lists(case, careless(case.prepare(&book, true))).0;
    });
    println!("{held} entries, {held_plainly} by f32; {lacking} neighbours lacking without rho");
    assert!(held <= held_plainly + held_plainly / 20, "{held} {held_plainly}: bytes add no entries");
    assert!(lacking > 100, "{lacking}");
}

/// Rows within the limit of a column, and none beyond it, as far as `f32` can tell.
#[test]
fn hits_are_within_the_limits_of_columns() {
    let mut lacking = 0;
    cases(|name, case| {
        let book = columns::Columns::new(&case.columns, case.depth);
        let half_norms: Vec<f32> = (0..ROWS).map(|row| (0.5 * case.square(row)) as f32).collect();
        let value = |row: usize, column: usize| f64::from(half_norms[row]) - case.product(row, column);
        let limit = |column: usize| {
            let mut values: Vec<f64> = (0..ROWS).map(|row| value(row, column)).collect();
            values.sort_by(f64::total_cmp);
            values[COUNT] as f32
        };
        let limits: Vec<f32> = (0..COLUMNS).map(limit).collect();
        for is_careless in [false, true] {
            let mut prepared = case.prepare(&book, true);
            if is_careless {
                prepared = careless(prepared);
            }
            let (mut block, packed, errors) = prepared;
            let numbers: Vec<u32> = (0..COLUMNS as u32).collect();
            let columns = Columns { packed: &packed, errors: &errors, numbers: &numbers };
            let terms = RowTerms::new(half_norms.clone());
            let mut found = Vec::new();
            block.collect_both(
                &columns,
                COUNT,
                &terms,
                &mut limits.clone(),
                &mut Sums::default(),
                &mut found,
            );
            let mut is_hit = vec![false; ROWS * COLUMNS];
            for hit in &found {
                is_hit[hit.row as usize * COLUMNS + hit.column as usize] = true;
            }
            for row in 0..ROWS {
                for (column, &limit) in limits.iter().enumerate() {
                    let size = (case.square(row) * book.squares()[column]).sqrt() + case.square(row);
                    let (beyond, slack) = (value(row, column) - f64::from(limit), 1e-4 * size);
                    let is_hit = is_hit[row * COLUMNS + column];
                    lacking += usize::from(is_careless && beyond < -slack && !is_hit);
                    assert!(is_careless || beyond > -slack || is_hit, "{name}: row {row}, column {column}");
                    assert!(beyond < slack || !is_hit, "{name}: row {row}, column {column} beyond its limit");
                }
            }
        }
    });
    println!("{lacking} hits lacking without rho");
    assert!(lacking > 100, "{lacking}");
}

#[test]
fn bytes_are_given_up_where_they_leave_too_much_open() {
    let case = Case::new(64, 1.0, 1.0);
    let book = columns::Columns::new(&case.columns, 64);
    let pays = |limit: f32| {
        let (mut block, packed, errors) = case.prepare(&book, true);
        block.limits[..ROWS].fill(limit);
        let numbers: Vec<u32> = (0..COLUMNS as u32).collect();
        let columns = Columns { packed: &packed, errors: &errors, numbers: &numbers };
        block.collect(&columns, None, &mut Sums::default());
        packed.pays(ROWS)
    };
    assert!(pays(-1e30), "nothing is open");
    assert!(!pays(NO_LIMIT), "everything is open");
    for (rows, columns, depth) in [(10, 10_000, 64), (1000, 10, 64), (1000, 1000, 8), (1000, 1000, 5000)] {
        assert!(!trials_of_bytes(rows, columns, depth).is_due(), "{rows} {columns} {depth}");
    }
}
