//! Input: borrowed rows of any numeric element type, and the readers and writers of files.
//!
//! [`Table::open`] reads `.npy`, `.csv`/`.tsv`/`.txt`, `.fvecs`/`.bvecs`/`.ivecs` and IDX files (plain or gzipped);
//! [`write_npy`], [`write_csv`] and [`NpyRowWriter`] write through an [`AtomicFile`].

mod columns;
mod csv;
pub(crate) mod exact;
pub(crate) mod frame;
mod idx;
pub(crate) mod json;
mod lines;
mod npy;
mod npz;
mod open;
pub(crate) mod points;
#[cfg(feature = "cli")]
pub(crate) mod records;
pub(crate) mod sparse;
pub(crate) mod storage;
mod table;
pub(crate) mod together;
mod vecs;
pub(crate) mod whole;
mod write;

pub use npz::{CompressedRows, write_csr_npz_to};
pub use open::{read_vector_f64, read_vector_f64_with};
pub use points::{ElementType, Points};
pub use sparse::{Indices, SparseRows, SparseValues};
pub use table::{ReadOptions, Table};
pub use write::{AtomicFile, NpyElement, NpyRowWriter, write_csv, write_csv_to, write_npy, write_npy_to};
