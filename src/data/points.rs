//! A borrowed table of rows in any supported element type.

use half::{bf16, f16};
use ndarray::ArrayView2;

use super::sparse::SparseRows;
use crate::error::{Error, Result};

/// Calls a macro once for every element type that [`Points`] can hold.
macro_rules! each_element {
    ($call:ident) => {
        $call! {
            F32(f32, "f32"), F64(f64, "f64"), F16(f16, "f16"), Bf16(bf16, "bf16"),
            U8(u8, "u8"), I8(i8, "i8"), U16(u16, "u16"), I16(i16, "i16"),
            U32(u32, "u32"), I32(i32, "i32"), U64(u64, "u64"), I64(i64, "i64"),
        }
    };
}

macro_rules! declare {
    ($($variant:ident($type:ty, $name:literal)),* $(,)?) => {
        /// The element type of a table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ElementType {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl ElementType {
            /// The Rust name of the type.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Bytes of one element.
            pub fn size_bytes(self) -> usize {
                match self { $(Self::$variant => size_of::<$type>(),)* }
            }
        }

        /// A borrowed table: one point per row, one feature per column, in any supported element type.
        ///
        /// It is a view: nothing is copied, strided and transposed arrays are read as they are.
        ///
        /// ```
        /// let array = ndarray::array![[0.0_f32, 1.0], [2.0, 3.0]];
        /// let points = tilefold::Points::from(array.view());
        /// assert_eq!((points.rows(), points.columns()), (2, 2));
        /// ```
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Points<'a> {
            $(#[doc = concat!("Rows of `", $name, "`.")] $variant(ArrayView2<'a, $type>),)*
            /// Rows that store what is not 0.
            Sparse(SparseRows<'a>),
        }

        $(impl<'a> From<ArrayView2<'a, $type>> for Points<'a> {
            fn from(view: ArrayView2<'a, $type>) -> Self {
                Self::$variant(view)
            }
        })*

        impl Points<'_> {
            /// Number of points.
            pub fn rows(&self) -> usize {
                match self {
                    Self::Sparse(rows) => rows.rows(),
                    $(Self::$variant(view) => view.nrows(),)*
                }
            }

            /// Number of features.
            pub fn columns(&self) -> usize {
                match self {
                    Self::Sparse(rows) => rows.columns(),
                    $(Self::$variant(view) => view.ncols(),)*
                }
            }

            /// The element type.
            pub fn element_type(&self) -> ElementType {
                match self {
                    Self::Sparse(rows) if rows.is_double() => ElementType::F64,
                    Self::Sparse(_) => ElementType::F32,
                    $(Self::$variant(_) => ElementType::$variant,)*
                }
            }

            /// A narrower borrow of the same rows.
            pub fn view(&self) -> Points<'_> {
                match self {
                    Self::Sparse(rows) => Points::Sparse(rows.clone()),
                    $(Self::$variant(view) => Points::$variant(view.view()),)*
                }
            }

            /// Rows `start .. start + count`.
            pub(crate) fn slice_rows(&self, start: usize, count: usize) -> Points<'_> {
                match self {
                    Self::Sparse(rows) => Points::Sparse(rows.slice_rows(start, count)),
                    $(Self::$variant(view) => {
                        Points::$variant(view.slice(ndarray::s![start..start + count, ..]))
                    })*
                }
            }
        }
    };
}

each_element!(declare);
pub(crate) use each_element;

impl Points<'_> {
    /// Refuses tables without rows or without columns.
    pub(crate) fn check_not_empty(&self, argument: &'static str) -> Result<()> {
        if self.rows() == 0 || self.columns() == 0 {
            let got = format!("{} x {}", self.rows(), self.columns());
            return Err(Error::shape(argument, "at least 1 row and 1 column", got));
        }
        Ok(())
    }
}

/// A number that widens to `f64`. 64-bit integers beyond 2^53 round to the nearest `f64`, as NumPy does: who compares or
/// subtracts them asks [`super::exact`] first.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// The value in `f64`.
    fn widen(self) -> f64;
}

macro_rules! lossless {
    ($($type:ty),*) => {$(impl Element for $type {
        #[inline(always)]
        fn widen(self) -> f64 { f64::from(self) }
    })*};
}
lossless!(f32, f64, f16, bf16, u8, i8, u16, i16, u32, i32);

impl Element for u64 {
    #[inline(always)]
    fn widen(self) -> f64 {
        self as f64
    }
}

impl Element for i64 {
    #[inline(always)]
    fn widen(self) -> f64 {
        self as f64
    }
}
