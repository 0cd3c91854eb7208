//! Where dissimilarities come from: a matrix that is held, or one that is made anew, block by block.
//!
//! Column c has the dissimilarities of all objects to candidate c, one after the other, whatever the caller's layout was:
//! all that a swap needs is one column, and the medoids' columns.

use std::borrow::Cow;
use std::sync::Mutex;

use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

use super::dissimilarities::not_finite;
use super::entry::Entry;
use crate::cancel::Cancel;
use crate::distance::RowMaker;
use crate::error::{Error, Result};
use crate::memory::{zeroed, zeros};

/// Most bytes of a block that is made anew.
const BLOCK_BYTES: usize = 64 << 20;

/// Columns of dissimilarities.
pub(super) enum Columns<'a, T: Entry> {
    /// All of them.
    Held { values: Cow<'a, [T]>, objects: usize, cancel: Cancel },
    /// The rows of a symmetric metric, which are its columns.
    Made { maker: Box<Mutex<RowMaker<'a>>>, objects: usize, cancel: Cancel },
}

impl<'a, T: Entry> Columns<'a, T> {
    /// Columns in memory, one after the other, for work that `cancel` stops.
    pub fn held(values: Cow<'a, [T]>, objects: usize, cancel: &Cancel) -> Self {
        Self::Held { values, objects, cancel: cancel.clone() }
    }

    /// Columns that `maker` makes: as many as there are objects.
    pub fn made(maker: RowMaker<'a>, objects: usize, cancel: &Cancel) -> Self {
        Self::Made { maker: Box::new(Mutex::new(maker)), objects, cancel: cancel.clone() }
    }

    /// What stops the work: whoever goes over many columns polls it at each of them.
    pub fn cancel(&self) -> &Cancel {
        match self {
            Self::Held { cancel, .. } | Self::Made { cancel, .. } => cancel,
        }
    }

    /// Objects: entries of a column.
    pub fn objects(&self) -> usize {
        match self {
            Self::Held { objects, .. } | Self::Made { objects, .. } => *objects,
        }
    }

    /// Candidates: columns.
    pub fn candidates(&self) -> usize {
        match self {
            Self::Held { values, objects, .. } => values.len() / objects,
            Self::Made { objects, .. } => *objects,
        }
    }

    /// All columns where they are held.
    pub fn whole(&self) -> Option<&[T]> {
        match self {
            Self::Held { values, .. } => Some(values),
            Self::Made { .. } => None,
        }
    }

    /// Hands out all columns in order, in blocks: the first column's number, and the columns.
    pub fn for_each_block(&self, mut visit: impl FnMut(usize, &[T]) -> Result<()>) -> Result<()> {
        match self {
            Self::Held { values, .. } => visit(0, values),
            Self::Made { objects, cancel, .. } => {
                let count = (BLOCK_BYTES / size_of::<T>() / objects).clamp(1, *objects);
                let mut block = zeroed("columns of distances", count, *objects)?;
                for first in (0..*objects).step_by(count) {
                    cancel.check()?;
                    let count = count.min(objects - first);
                    block.truncate(count * objects);
                    self.make(first, &mut block)?;
                    visit(first, &block)?;
                }
                Ok(())
            }
        }
    }

    /// The column of one candidate.
    pub fn column(&self, candidate: usize) -> Result<Cow<'_, [T]>> {
        match self {
            Self::Held { values, objects, .. } => {
                Ok(Cow::Borrowed(&values[candidate * objects..][..*objects]))
            }
            Self::Made { .. } => self.of(&[candidate]).map(Cow::Owned),
        }
    }

    /// Columns of these candidates, one after the other.
    pub fn of(&self, candidates: &[usize]) -> Result<Vec<T>> {
        let objects = self.objects();
        let mut columns = zeroed("columns of candidates", candidates.len(), objects)?;
        match self {
            Self::Held { values, cancel, .. } => {
                let places = columns.par_chunks_exact_mut(objects).zip(candidates);
                places.try_for_each(|(place, &candidate)| {
                    place.copy_from_slice(&values[candidate * objects..][..objects]);
                    cancel.check()
                })?;
            }
            Self::Made { .. } => {
                for (place, &candidate) in columns.chunks_exact_mut(objects).zip(candidates) {
                    self.cancel().check()?;
                    self.make(candidate, place)?;
                }
            }
        }
        Ok(columns)
    }

    /// The entries of some objects in the columns of some candidates, column by column.
    pub fn part(&self, candidates: &[usize], objects: &[usize]) -> Result<Vec<T>> {
        let mut part = zeroed("columns of a sample", candidates.len(), objects.len())?;
        let fill = |(part, &candidate): (&mut [T], &usize)| {
            self.cancel().check()?;
            let column = self.column(candidate)?;
            part.iter_mut().zip(objects).for_each(|(entry, &object)| *entry = column[object]);
            Ok(())
        };
        let size = objects.len();
        match self {
            Self::Held { .. } => part.par_chunks_exact_mut(size).zip(candidates).try_for_each(fill)?,
            // Whoever makes a column has all threads: none may wait for it.
            Self::Made { .. } => part.chunks_exact_mut(size).zip(candidates).try_for_each(fill)?,
        }
        Ok(part)
    }

    fn make(&self, first: usize, block: &mut [T]) -> Result<()> {
        let Self::Made { maker, objects, .. } = self else {
            return Err(Error::shape("columns", "columns that are made", "columns that are held"));
        };
        let count = block.len() / objects;
        let out = ArrayViewMut2::from_shape((count, *objects), &mut *block);
        let out = out.map_err(|error| Error::shape("columns", format!("{count} x {objects}"), error))?;
        let mut maker = maker.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        maker.fill(first, T::place(out))?;
        drop(maker);
        match block.par_chunks_exact(*objects).position_any(|row| !row.iter().all(|d| d.wide().is_finite())) {
            Some(row) => Err(not_finite("distances", first + row, &block[row * objects..][..*objects])),
            None => Ok(()),
        }
    }
}

/// A matrix with its rows as columns.
pub(super) fn transposed<T: Entry>(matrix: &ArrayView2<T>, cancel: &Cancel) -> Result<Array2<T>> {
    let mut turned = zeros("the matrix by columns", matrix.ncols(), matrix.nrows())?;
    const BLOCK: usize = 32;
    let rows = turned.axis_chunks_iter_mut(ndarray::Axis(0), BLOCK).into_par_iter().enumerate();
    rows.try_for_each(|(index, mut block)| {
        cancel.check()?;
        for first in (0..matrix.nrows()).step_by(BLOCK) {
            let last = (first + BLOCK).min(matrix.nrows());
            for (row, mut out) in block.outer_iter_mut().enumerate() {
                for column in first..last {
                    out[column] = matrix[[column, index * BLOCK + row]];
                }
            }
        }
        Ok(())
    })?;
    Ok(turned)
}
