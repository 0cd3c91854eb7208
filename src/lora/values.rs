//! The three types that weights and activations come in.

use bytemuck::Pod;
use half::{bf16, f16};

use super::cpu::OnCpu;
use crate::error::{Error, Result};

/// The type of weights or of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Its name: `f32`, `f16`, `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// The rule for a number that the type can hold.
    pub(crate) fn held(self) -> &'static str {
        match self {
            Self::F32 => "a number that f32 holds, at most 3.4028235e38 in magnitude",
            Self::F16 => "a number that f16 holds, at most 65504 in magnitude",
            Self::Bf16 => "a number that bf16 holds, at most 3.3895314e38 in magnitude",
        }
    }

    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl std::str::FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|precision| precision.name() == text);
        found.ok_or_else(|| Error::parameter("dtype", "f32, f16 or bf16", text))
    }
}

/// A number that weights and activations are made of: `f32`, `f16` or `bf16`.
pub trait Scalar: OnCpu + Pod + Send + Sync + PartialEq + std::fmt::Debug {
    /// Its type as a value.
    const PRECISION: Precision;
    /// The value, which `f32` holds exactly.
    fn widen(self) -> f32;
    /// The nearest value, ties to even.
    fn narrow(value: f32) -> Self;
    /// Owned values of this type.
    fn into_values(values: Vec<Self>) -> Values;
}

impl Scalar for f32 {
    const PRECISION: Precision = Precision::F32;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }
    fn into_values(values: Vec<Self>) -> Values {
        Values::F32(values)
    }
}

macro_rules! halves {
    ($($type:ident, $variant:ident);*) => {$(impl Scalar for $type {
        const PRECISION: Precision = Precision::$variant;
        #[inline(always)]
        fn widen(self) -> f32 {
            self.to_f32()
        }
        #[inline(always)]
        fn narrow(value: f32) -> Self {
            Self::from_f32(value)
        }
        fn into_values(values: Vec<Self>) -> Values {
            Values::$variant(values)
        }
    })*};
}
halves!(f16, F16; bf16, Bf16);

/// A list of numbers of one of the three types.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// `f32`.
    F32(Vec<f32>),
    /// `f16`.
    F16(Vec<f16>),
    /// `bf16`.
    Bf16(Vec<bf16>),
}

/// Runs an expression for whichever type the values have.
macro_rules! with_values {
    ($values:expr, $name:ident => $body:expr) => {
        match $values {
            $crate::lora::values::Values::F32($name) => $body,
            $crate::lora::values::Values::F16($name) => $body,
            $crate::lora::values::Values::Bf16($name) => $body,
        }
    };
}
pub(crate) use with_values;

impl Values {
    /// Values of any of the types.
    pub fn new<T: Scalar>(values: Vec<T>) -> Self {
        T::into_values(values)
    }

    /// Their type.
    pub fn precision(&self) -> Precision {
        match self {
            Self::F32(_) => Precision::F32,
            Self::F16(_) => Precision::F16,
            Self::Bf16(_) => Precision::Bf16,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        with_values!(self, values => values.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number `index`, which `f32` holds exactly. Panics beyond the end.
    pub fn get(&self, index: usize) -> f32 {
        with_values!(self, values => values[index].widen())
    }

    /// Their bytes in memory.
    pub fn bytes(&self) -> &[u8] {
        with_values!(self, values => bytemuck::cast_slice(values))
    }

    /// Index of the first NaN or infinity.
    pub(crate) fn first_not_finite(&self) -> Option<usize> {
        with_values!(self, values => values.iter().position(|value| !value.widen().is_finite()))
    }

    /// The values `indices` as values of their own.
    pub(crate) fn gather(&self, indices: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::F32(values) => Self::F32(indices.map(|index| values[index]).collect()),
            Self::F16(values) => Self::F16(indices.map(|index| values[index]).collect()),
            Self::Bf16(values) => Self::Bf16(indices.map(|index| values[index]).collect()),
        }
    }

    /// The values as another type: the nearest, ties to even; infinite beyond its range, which [`Factors`](super::Factors)
    /// and [`Shards`](super::Shards) refuse.
    pub fn cast(&self, precision: Precision) -> Self {
        fn all<T: Scalar>(values: &Values) -> Values {
            Values::new(with_values!(values, v => v.iter().map(|value| T::narrow(value.widen())).collect()))
        }
        match precision {
            Precision::F32 => all::<f32>(self),
            Precision::F16 => all::<f16>(self),
            Precision::Bf16 => all::<bf16>(self),
        }
    }
}
