//! Rows of packed bits, as words of 32.

use super::metric::Metric;
use super::tables::Tables;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::error::{Error, Result};
use crate::memory::zeroed;

/// Both tables as words. Bytes fill words from the lowest on; the last word of a row is padded with zeros.
#[derive(Debug)]
pub(super) struct Bits {
    pub metric: Metric,
    /// Words of a row.
    pub depth: usize,
    pub x: Vec<u32>,
    /// `None`: X itself.
    pub y: Option<Vec<u32>>,
}

impl Bits {
    /// Packs tables, which hold `u8` or `u32`.
    pub(super) fn new(metric: Metric, tables: &Tables, cancel: &Cancel) -> Result<Self> {
        let depth = match tables.x {
            Points::U8(view) => view.ncols().div_ceil(4),
            _ => tables.x.columns(),
        };
        let x = words("x", &tables.x, depth, cancel)?;
        let y = tables.y.as_ref().map(|y| words("y", y, depth, cancel)).transpose()?;
        Ok(Self { metric, depth, x, y })
    }

    /// The words of the table that columns of the result belong to.
    pub(super) fn y(&self) -> &[u32] {
        self.y.as_ref().unwrap_or(&self.x)
    }

    /// Both tables, the second where it is another one.
    #[cfg(feature = "gpu")]
    pub(super) fn into_tables(self) -> (Vec<u32>, Option<Vec<u32>>) {
        (self.x, self.y)
    }
}

fn words(argument: &'static str, points: &Points, depth: usize, cancel: &Cancel) -> Result<Vec<u32>> {
    let mut words: Vec<u32> = zeroed("packed rows", points.rows(), depth)?;
    let rows = words.chunks_exact_mut(depth).enumerate();
    match points {
        Points::U8(view) => {
            for ((row, words), bytes) in rows.zip(view.outer_iter()) {
                if row % 4096 == 0 {
                    cancel.check()?;
                }
                for (index, &byte) in bytes.iter().enumerate() {
                    words[index / 4] |= u32::from(byte) << (8 * (index % 4));
                }
            }
        }
        Points::U32(view) => {
            for ((_, words), row) in rows.zip(view.outer_iter()) {
                words.iter_mut().zip(row).for_each(|(word, &value)| *word = value);
            }
        }
        _ => return Err(Error::shape(argument, "packed bits in u8 or u32", points.element_type().name())),
    }
    Ok(words)
}

/// A row of packed bits as numbers 0 and 1, for the reference.
pub(crate) fn unpacked(points: &Points, row: usize) -> Vec<f64> {
    let mut bits = Vec::new();
    let mut unpack = |value: u32, width: u32| {
        bits.extend((0..width).map(|bit| f64::from((value >> bit) & 1)));
    };
    match points {
        Points::U8(view) => view.row(row).iter().for_each(|&byte| unpack(u32::from(byte), 8)),
        Points::U32(view) => view.row(row).iter().for_each(|&word| unpack(word, 32)),
        _ => {}
    }
    bits
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn bytes_and_words_hold_the_same_bits() {
        let bytes = array![[1_u8, 2, 3, 4, 255], [0, 0, 0, 128, 0]];
        let words = array![[0x0403_0201_u32, 0xff], [0x8000_0000, 0]];
        let cancel = Cancel::new();
        let (bytes, words) = (Points::from(bytes.view()), Points::from(words.view()));
        let packed = |points: &Points| {
            Bits::new(Metric::BitHamming, &Tables::new(points, None).unwrap(), &cancel).unwrap().x
        };
        assert_eq!(packed(&bytes), packed(&words));
        assert_eq!(unpacked(&bytes, 0), unpacked(&words, 0)[..40]);
    }
}
