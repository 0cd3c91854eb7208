//! What a checkpoint belongs to: each parameter that changes a result, and all rows and weights.
//!
//! ```text
//! points  = sum over rows i of XXH3-128(i, x[i, 0], x[i, 1], ...)  modulo 2^128
//! weights = sum over rows i of XXH3-128(i, w[i], s)                modulo 2^128, 0 without weights
//! ```
//!
//! A number is hashed as eight bytes, little-endian: a row's index as an integer, a value as the `f64` that the fit widens
//! it to, so that the element type of a file does not matter where the values are equal. `w` and `s` are the weights as the
//! fit rounds them, and their scale. 0.0 and -0.0 differ, because the sign of a zero can reach the offsets of a model.
//! Sums do not depend on how rows are cut or in which order the parts are read, and the index keeps rows in their
//! places. XXH3-128 is a published format that does not change.

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::codec::{Decoder, Encoder};
use super::finish;
use super::params::{Init, Params};
use super::problem::{Problem, SUM_BLOCK};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::widen_row;
use crate::error::Result;

/// What is compared, in the order of the file, with how a value is told: of the fit that was asked for, or of the file.
const PARTS: [Part; 12] = [
    Part { name: "rows", told: |value, _| format!("{value} rows") },
    Part { name: "columns", told: |value, _| format!("{value} columns") },
    Part {
        name: "points",
        told: |_, of_file| either(of_file, "other points, or these in another order", "these points"),
    },
    Part { name: "weights", told: weights_told },
    Part { name: "n_clusters", told: |value, _| format!("n_clusters {value}") },
    Part { name: "n_init", told: |value, _| format!("n_init {value}") },
    Part { name: "init", told: init_told },
    Part { name: "seed", told: |value, _| format!("seed {value}") },
    Part { name: "tol", told: |value, _| format!("tol {:?}", f64::from_bits(value as u64)) },
    Part { name: "spherical", told: |value, _| format!("spherical {}", value != 0) },
    Part { name: "centroid_type", told: |value, _| format!("centroid_type {}", word_of(value)) },
    Part {
        name: "element type",
        told: |value, _| either(value != 0, "points of f64", "points of another type than f64"),
    },
];

struct Part {
    name: &'static str,
    /// From the value, and whether it is the file's.
    told: fn(u128, bool) -> String,
}

/// The values of [`PARTS`] for one fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint([u128; PARTS.len()]);

/// Where two fits differ, in words.
pub(super) struct Difference {
    /// What the fit that was asked for has.
    pub expected: String,
    /// What the file has instead.
    pub got: String,
}

impl Fingerprint {
    /// Reads all rows once.
    pub fn new(problem: &Problem, params: &Params) -> Result<Self> {
        // Every field is named, so that a new one is decided about. Those that are dropped change no bit of a result, but
        // for `max_iter`, which a file is compared with by its iterations, and for what only tests switch.
        let Params {
            n_clusters,
            init,
            n_init: _,
            max_iter: _,
            tol,
            seed,
            weights: _,
            spherical,
            callback: _,
            cancel,
            checkpoint: _,
            prune: _,
            centroid_type,
            recheck: _,
            #[cfg(feature = "gpu")]
                update: _,
            careless: _,
        } = params;
        Ok(Self([
            problem.rows as u128,
            problem.columns as u128,
            all_rows(&problem.points, cancel)?,
            problem.weights.as_ref().map_or(0, |_| {
                all_weights(problem.rows, |row| problem.exact_weight(row), problem.weight_scale)
            }),
            *n_clusters as u128,
            params.runs() as u128,
            value_of_init(init),
            u128::from(*seed),
            // -0.0 is a tolerance of 0.
            u128::from((tol + 0.0).to_bits()),
            u128::from(*spherical),
            centroid_type.map_or(word("none"), |wanted| word(wanted.name())),
            u128::from(finish::is_double(problem, params)),
        ]))
    }

    pub fn encode(&self, encoder: &mut Encoder) {
        self.0.iter().for_each(|&value| encoder.u128(value));
    }

    pub fn decode(decoder: &mut Decoder) -> Result<Self> {
        let mut values = [0; PARTS.len()];
        for value in &mut values {
            *value = decoder.u128()?;
        }
        Ok(Self(values))
    }

    /// Where the fit of a file differs from this one.
    pub fn difference(&self, of_file: &Self) -> Option<Difference> {
        let differs = |name: &str| {
            let at = PARTS.iter().position(|part| part.name == name);
            at.is_some_and(|at| self.0[at] != of_file.0[at])
        };
        // Hashes of tables of another shape say nothing more.
        let shape_differs = differs("rows") || differs("columns");
        let implied = |name: &str| shape_differs && matches!(name, "points" | "weights");
        let (mut expected, mut got) = (Vec::new(), Vec::new());
        for ((part, &ours), &theirs) in PARTS.iter().zip(&self.0).zip(&of_file.0) {
            if ours != theirs && !implied(part.name) {
                expected.push((part.told)(ours, false));
                got.push((part.told)(theirs, true));
            }
        }
        (!expected.is_empty())
            .then(|| Difference { expected: expected.join(" and "), got: got.join(" and ") })
    }
}

fn either(first: bool, one: &str, other: &str) -> String {
    if first { one.to_owned() } else { other.to_owned() }
}

fn weights_told(value: u128, of_file: bool) -> String {
    if value == 0 { "no weights".to_owned() } else { either(of_file, "other weights", "these weights") }
}

fn value_of_init(init: &Init) -> u128 {
    match init {
        Init::PlusPlus => word("k-means++"),
        Init::Random => word("random"),
        Init::Parallel => word("k-means||"),
        Init::Centroids(centroids) => {
            let words: Vec<u64> = centroids.iter().map(|value| value.to_bits()).collect();
            hash(&words)
        }
    }
}

fn init_told(value: u128, of_file: bool) -> String {
    let named = ["k-means++", "random", "k-means||"].into_iter().find(|name| word(name) == value);
    match named {
        Some(name) => format!("init {name}"),
        None => either(of_file, "other given centroids", "these given centroids"),
    }
}

/// A short word as a number.
fn word(text: &str) -> u128 {
    text.bytes().rev().fold(0, |word, byte| word << 8 | u128::from(byte))
}

fn word_of(value: u128) -> String {
    String::from_utf8_lossy(&value.to_le_bytes()).trim_end_matches('\0').to_owned()
}

/// XXH3-128 of words in little-endian order.
fn hash(words: &[u64]) -> u128 {
    if cfg!(target_endian = "little") {
        return xxh3_128(bytemuck::cast_slice(words));
    }
    let swapped: Vec<u64> = words.iter().map(|word| word.to_le()).collect();
    xxh3_128(bytemuck::cast_slice(&swapped))
}

fn all_rows(points: &Points, cancel: &Cancel) -> Result<u128> {
    let rows = points.rows();
    (0..rows.div_ceil(SUM_BLOCK))
        .into_par_iter()
        .map(|block| {
            cancel.check()?;
            let start = block * SUM_BLOCK;
            Ok(rows_from(&points.slice_rows(start, SUM_BLOCK.min(rows - start)), start))
        })
        .try_reduce(|| 0, |sum, part| Ok(sum.wrapping_add(part)))
}

/// The sum of a part of the rows, the first of which is row `start` of all.
fn rows_from(part: &Points, start: usize) -> u128 {
    let columns = part.columns();
    let (mut values, mut words) = (vec![0.0; columns], vec![0; 1 + columns]);
    (0..part.rows()).fold(0, |sum: u128, row| {
        widen_row(part, row, &mut values);
        words[0] = (start + row) as u64;
        words[1..].iter_mut().zip(&values).for_each(|(word, value)| *word = value.to_bits());
        sum.wrapping_add(hash(&words))
    })
}

fn all_weights(rows: usize, weight: impl Fn(usize) -> f64 + Sync, scale: f64) -> u128 {
    let of_row = |row: usize| hash(&[row as u64, weight(row).to_bits(), scale.to_bits()]);
    (0..rows).into_par_iter().map(of_row).reduce(|| 0, u128::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Axis, array, s};

    fn of(points: &Array2<f32>) -> u128 {
        all_rows(&Points::from(points.view()), &Cancel::new()).unwrap_or(0)
    }

    /// Numbers around 0 without a pattern.
    fn numbers(rows: usize, columns: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(row, column)| {
            ((row * 7919 + column * 104_729) % 10_007) as f32 / 5000.0 - 1.0
        })
    }

    #[test]
    fn cuts_and_their_order_change_nothing() {
        for columns in [1, 3, 40] {
            let points = numbers(3000, columns);
            let whole = of(&points);
            for cut in [1, 2, 999, 1024, 2999] {
                let (low, high) = points.view().split_at(Axis(0), cut);
                let [low, high] =
                    [(low, 0), (high, cut)].map(|(part, at)| rows_from(&Points::from(part), at));
                assert_eq!(high.wrapping_add(low), whole, "{columns} columns, cut at {cut}");
            }
        }
    }

    #[test]
    fn equal_values_have_equal_hashes_in_every_type() {
        let whole = Array2::from_shape_fn((50, 3), |(row, column)| ((row * 31 + column * 17) % 120) as u8);
        let wanted = of(&whole.mapv(f32::from));
        let hash_of = |points: Points| all_rows(&points, &Cancel::new()).unwrap_or(0);
        assert_eq!(hash_of(Points::from(whole.view())), wanted);
        assert_eq!(hash_of(Points::from(whole.mapv(f64::from).view())), wanted);
        assert_eq!(hash_of(Points::from(whole.mapv(i64::from).view())), wanted);
        let columns_first = whole.t().as_standard_layout().into_owned();
        assert_eq!(hash_of(Points::from(columns_first.t())), wanted);
    }

    #[test]
    fn whatever_a_fit_sees_changes_the_hash() {
        let points = numbers(100, 4);
        let whole = of(&points);
        let mut others = vec![points.mapv(|value| -value), points.slice(s![.., ..;-1]).to_owned()];
        others.push(points.slice(s![..;-1, ..]).to_owned());
        others.push(points.slice(s![..99, ..]).to_owned());
        for (row, column) in points.indexed_iter().map(|(at, _)| at) {
            let mut other = points.clone();
            let bits = other[[row, column]].to_bits();
            other[[row, column]] = f32::from_bits(bits ^ 1);
            others.push(other);
        }
        let mut hashes: Vec<u128> = others.iter().map(of).chain([whole]).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), others.len() + 1);
        // Rows of zeros count, in their places, and a zero has a sign.
        let zeros =
            [array![[0.0]], array![[-0.0]], array![[0.0], [0.0]], array![[1.0], [0.0]], array![[0.0], [1.0]]];
        let mut hashes: Vec<u128> = zeros.iter().map(of).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), zeros.len());
    }

    /// Files are read by later versions: the hash is what the header says, for ever.
    #[test]
    fn hashes_are_those_of_the_published_format() {
        assert_eq!(xxh3_128(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        let one = xxh3_128(&[0_u64.to_le_bytes(), 2.0_f64.to_le_bytes(), (-3.0_f64).to_le_bytes()].concat());
        let two = xxh3_128(&[1_u64.to_le_bytes(), 0.5_f64.to_le_bytes(), 0.0_f64.to_le_bytes()].concat());
        assert_eq!(of(&array![[2.0, -3.0], [0.5, 0.0]]), one.wrapping_add(two));
        assert_eq!(all_weights(2, |row| [1.0, 0.5][row], 4.0), {
            let of_row =
                |row: u64, weight: f64| [row, weight.to_bits(), 4.0_f64.to_bits()].map(u64::to_le_bytes);
            xxh3_128(&of_row(0, 1.0).concat()).wrapping_add(xxh3_128(&of_row(1, 0.5).concat()))
        });
        assert_eq!(word_of(word("k-means++")), "k-means++");
    }
}
