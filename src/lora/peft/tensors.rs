//! Safetensors files: mapped, checked, and their tensors taken one by one, so that none is left unseen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;

use super::folder::malformed;
use crate::cancel::Cancel;
use crate::data::json::{Demand, InOrder};
use crate::data::storage::{Storage, open_file};
use crate::error::{Error, Result};
use crate::lora::values::Values;
use crate::memory;

/// Bytes before the header: its length.
const LENGTH_BYTES: usize = 8;

/// Longest header that is parsed: 100 000 tensors. Parsing takes memory in proportion.
const MAX_HEADER_BYTES: usize = 32 << 20;

/// A mapped file of tensors.
pub(super) struct TensorFile {
    path: PathBuf,
    storage: Storage,
}

/// The tensors of a file that were not taken yet.
pub(super) struct Tensors<'a> {
    pub(super) path: &'a Path,
    rest: BTreeMap<String, TensorView<'a>>,
}

/// One tensor.
pub(super) struct Tensor<'a> {
    pub(super) name: String,
    view: TensorView<'a>,
    path: &'a Path,
}

impl TensorFile {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let (file, length) = open_file(&path)?;
        if length < LENGTH_BYTES as u64 {
            let got = format!("a file of {length} bytes");
            return Err(malformed(&path, format!("a header length of {LENGTH_BYTES} bytes"), got));
        }
        let storage = Storage::open(&path, file, length, false, &Cancel::new())?;
        Ok(Self { path, storage })
    }

    pub(super) fn tensors(&self) -> Result<Tensors<'_>> {
        let bytes = self.storage.bytes();
        check_claims(&self.path, bytes)?;
        let parsed = SafeTensors::deserialize(bytes);
        let parsed =
            parsed.map_err(|error| malformed(&self.path, "a safetensors file", error.to_string()))?;
        Ok(Tensors { path: &self.path, rest: parsed.tensors().into_iter().collect() })
    }
}

/// A tensor as the header claims it to be.
#[derive(Deserialize)]
struct Claim {
    dtype: Option<String>,
    shape: Option<Vec<u64>>,
    data_offsets: Option<(u64, u64)>,
}

/// Names the tensor that is wrong, which the parser does not do for all faults. No tensor may end beyond the file
/// either: the parser adds up ends, and sums must not overflow.
fn check_claims(path: &Path, bytes: &[u8]) -> Result<()> {
    let (length, rest) = bytes.split_at(LENGTH_BYTES);
    let claimed = u64::from_le_bytes(length.try_into().expect("split at the length of a u64"));
    let expected = || format!("a header of at most {} bytes", rest.len().min(MAX_HEADER_BYTES));
    let header_bytes = usize::try_from(claimed).ok().filter(|&length| length <= MAX_HEADER_BYTES);
    let header = header_bytes.and_then(|length| rest.get(..length));
    let header = header.ok_or_else(|| malformed(path, expected(), format!("{claimed} bytes claimed")))?;
    Demand::of(header).ask(&format!("the header of {}", path.display()))?;
    let claims: serde_json::Result<InOrder<Claim>> = serde_json::from_slice(header);
    let claims = claims.map_err(|error| malformed(path, "a safetensors header", error.to_string()))?;
    let claims: BTreeMap<String, Claim> = claims.0.into_iter().collect();
    let data_bytes = (rest.len() - header.len()) as u64;
    claims.iter().try_for_each(|(name, claim)| claim.check(name, data_bytes, path))
}

impl Claim {
    fn check(&self, name: &str, data_bytes: u64, path: &Path) -> Result<()> {
        let (Some(dtype), Some(shape), Some((start, end))) = (&self.dtype, &self.shape, self.data_offsets)
        else {
            // The file's notes are no tensor; the parser refuses tensors without these.
            return Ok(());
        };
        if end > data_bytes {
            let expected = format!("tensors within {data_bytes} bytes of data");
            return Err(malformed(path, expected, format!("{name} ends at byte {end}")));
        }
        let text = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(dtype);
        let Ok(known) = Dtype::deserialize(text) else {
            return Err(malformed(path, "elements of type F32, F16 or BF16", format!("{name}: {dtype}")));
        };
        let elements = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
        let bits = elements.and_then(|elements| elements.checked_mul(known.bitsize() as u64));
        let held_bits = end.checked_sub(start).and_then(|bytes| bytes.checked_mul(8));
        if bits.is_none() || bits != held_bits {
            let expected = format!("the bytes of {dtype} {shape:?}");
            return Err(malformed(path, expected, format!("{name}: bytes {start} to {end}")));
        }
        Ok(())
    }
}

impl<'a> Tensors<'a> {
    pub(super) fn count(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.rest.keys()
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Tensor<'a>> {
        let (name, view) = self.rest.remove_entry(name)?;
        Some(Tensor { name, view, path: self.path })
    }

    /// Any tensor that was not taken.
    pub(super) fn take_any(&mut self) -> Option<Tensor<'a>> {
        let (name, view) = self.rest.pop_first()?;
        Some(Tensor { name, view, path: self.path })
    }

    /// The tensor `name`, which has to be there.
    pub(super) fn require(&mut self, name: &str) -> Result<Tensor<'a>> {
        self.take(name).ok_or_else(|| malformed(self.path, format!("tensor {name}"), "no such tensor"))
    }
}

impl<'a> Tensor<'a> {
    /// An error about this tensor.
    pub(super) fn wrong(&self, expected: impl AsRef<str>, got: impl std::fmt::Display) -> Error {
        malformed(self.path, expected, format!("{}: {got}", self.name))
    }

    pub(super) fn shape(&self) -> &[usize] {
        self.view.shape()
    }

    /// Its shape, which has to have `N` sizes, none of them 0.
    pub(super) fn sizes<const N: usize>(&self) -> Result<[usize; N]> {
        match <[usize; N]>::try_from(self.shape()) {
            Ok(sizes) if !sizes.contains(&0) => Ok(sizes),
            _ => {
                let expected = format!("a tensor of {N} dimensions, none of them 0");
                Err(self.wrong(expected, format!("{:?}", self.shape())))
            }
        }
    }

    /// Its numbers, which have to be finite and of a type that weights come in.
    pub(super) fn values(&self) -> Result<Values> {
        let values = match self.view.dtype() {
            Dtype::F32 => Values::F32(self.elements(f32::from_le_bytes)?),
            Dtype::F16 => Values::F16(self.elements(f16::from_le_bytes)?),
            Dtype::BF16 => Values::Bf16(self.elements(bf16::from_le_bytes)?),
            other => return Err(self.wrong("elements of type F32, F16 or BF16", format!("{other:?}"))),
        };
        match values.first_not_finite() {
            None => Ok(values),
            Some(at) => {
                let columns = self.shape().last().copied().unwrap_or(1).max(1);
                let place = match self.shape().len() {
                    2 => format!("{} at [{}, {}]", values.get(at), at / columns, at % columns),
                    _ => format!("{} at [{at}]", values.get(at)),
                };
                Err(self.wrong("finite numbers", place))
            }
        }
    }

    /// Its numbers, which have to be of type U32.
    pub(super) fn indices(&self) -> Result<Vec<u32>> {
        match self.view.dtype() {
            Dtype::U32 => self.elements(u32::from_le_bytes),
            other => Err(self.wrong("elements of type U32", format!("{other:?}"))),
        }
    }

    /// Elements may lie at any byte: headers need not be padded.
    fn elements<T, const SIZE: usize>(&self, element: fn([u8; SIZE]) -> T) -> Result<Vec<T>> {
        let bytes = self.view.data();
        let (chunks, _) = bytes.as_chunks::<SIZE>();
        memory::collected(&format!("tensor {}", self.name), chunks.iter().map(|&chunk| element(chunk)))
    }
}
