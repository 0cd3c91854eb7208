//! Adapters as index tables into shared shards (Mixture of Shards, Wang et al., ICLR 2025). No format for these is
//! published, so this one is ours.

use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;
use serde::Deserialize;

use super::folder::{folder, malformed, read_text};
use super::tensors::{TensorFile, Tensors};
use crate::data::json::InOrder;
use crate::error::{Error, Result};
use crate::lora::factors::{Adapter, Factors, MAX_RANK, Shards};

const TABLE_FILE: &str = "shards.json";
const TENSOR_FILE: &str = "shards.safetensors";
const FORMAT: &str = "tilefold-shards-1";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    format: String,
    a_pool: String,
    b_pool: String,
    modules: InOrder<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    a_index: String,
    b_index: String,
    scale: f32,
}

/// Reads an adapter whose rank vectors are assembled from shared shards: `shards.json` and `shards.safetensors`.
///
/// ```json
/// {
///   "format": "tilefold-shards-1",
///   "a_pool": "a", "b_pool": "b",
///   "modules": {
///     "layers.0.q_proj": {"a_index": "layers.0.q_proj.a", "b_index": "layers.0.q_proj.b", "scale": 2.0}
///   }
/// }
/// ```
///
/// All texts but the format are names of tensors. A pool is `[count, length]` of F32, F16 or BF16; both may be the
/// same tensor. An index is `[rank, n]` of U32, a tensor of its own for each module: row `i` of A (column `i` of B)
/// is the shards `index[i, 0]`, ..., `index[i, n - 1]` end to end, so that A is `[rank, n * length]`. All modules
/// share the pools, and nothing is expanded. The files must stay as they are until the call returns.
///
/// # Errors
/// [`Error::File`](crate::Error::File) where a file cannot be read, [`Error::Format`](crate::Error::Format) with the
/// field or tensor for everything that is malformed, missing, left over, not finite, beyond the pool, or of another
/// type or shape.
pub fn read_shards(directory: impl AsRef<Path>) -> Result<Adapter> {
    let folder = folder(directory.as_ref())?;
    let table_path = folder.join(TABLE_FILE);
    let table = serde_json::from_str(&read_text(&table_path)?);
    let table: Table =
        table.map_err(|error| malformed(&table_path, "pools and modules", error.to_string()))?;
    if table.format != FORMAT {
        return Err(malformed(&table_path, format!("format {FORMAT:?}"), format!("{:?}", table.format)));
    }
    if table.modules.0.is_empty() {
        return Err(malformed(&table_path, "at least 1 module", "none"));
    }
    let file = TensorFile::open(folder.join(TENSOR_FILE))?;
    let mut tensors = file.tensors()?;
    let a = pool(&mut tensors, &table.a_pool)?;
    let b = if table.b_pool == table.a_pool { Arc::clone(&a) } else { pool(&mut tensors, &table.b_pool)? };
    let mut adapter = Adapter::default();
    for (name, entry) in table.modules.0 {
        let a_index = index(&mut tensors, &entry.a_index, &a)?;
        let b_index = index(&mut tensors, &entry.b_index, &b)?;
        let factors = Factors::from_shards(&a, a_index.view(), &b, b_index.view(), entry.scale);
        let factors = factors.map_err(|error| match error {
            Error::TooLarge { .. } => error,
            error => malformed(&table_path, format!("{name}: a module"), error.to_string()),
        })?;
        adapter.modules.insert(name, factors);
    }
    match tensors.take_any() {
        None => Ok(adapter),
        Some(left) => Err(left.wrong(format!("tensors that {TABLE_FILE} names"), "left over")),
    }
}

fn pool(tensors: &mut Tensors<'_>, name: &str) -> Result<Arc<Shards>> {
    let tensor = tensors.require(name)?;
    let [_, length] = tensor.sizes()?;
    let shards = Shards::new(length, tensor.values()?).map_err(|error| tensor.wrong("shards", error))?;
    Ok(Arc::new(shards))
}

fn index(tensors: &mut Tensors<'_>, name: &str, pool: &Shards) -> Result<Array2<u32>> {
    let tensor = tensors.require(name)?;
    let [rank, per_vector] = tensor.sizes()?;
    if rank > MAX_RANK {
        return Err(tensor.wrong(format!("at most {MAX_RANK} rows, the rank"), rank));
    }
    let indices = tensor.indices()?;
    if let Some(at) = indices.iter().position(|&shard| shard as usize >= pool.count()) {
        let place = format!("{} at [{}, {}]", indices[at], at / per_vector, at % per_vector);
        return Err(tensor.wrong(format!("shards below {}", pool.count()), place));
    }
    Array2::from_shape_vec((rank, per_vector), indices).map_err(|error| tensor.wrong("an index table", error))
}
