//! What a caller gets from a folder that PEFT wrote, and whether it fits a base model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::config::{CONFIG_FILE, Config, Method};
use super::folder::{folder, malformed};
use super::patterns::Search;
use super::selection::Selection;
use super::tensors::TensorFile;
use super::{lora, vera};
use crate::error::{Error, Result};
use crate::lora::factors::Adapter;
use crate::lora::module::Module;
use crate::lora::values::Precision;

/// The tensors' file.
pub(super) const TENSOR_FILE: &str = "adapter_model.safetensors";

/// What every tensor of a module starts with.
pub(super) const PREFIX: &str = "base_model.model.";

/// An adapter that PEFT saved.
#[derive(Debug, Clone)]
pub struct PeftAdapter {
    /// Its updates by module, ready to be applied.
    pub adapter: Adapter,
    /// PEFT's name of the method: `LORA` or `VERA`.
    pub peft_type: &'static str,
    /// The base model that it was trained for, as its configuration names it.
    pub base_model: Option<String>,
    /// Rank of modules for which no pattern says otherwise.
    pub default_rank: usize,
    /// Alpha of modules for which no pattern says otherwise; VeRA has none.
    pub default_alpha: Option<f64>,
    /// Whether scales are `alpha / sqrt(rank)` instead of `alpha / rank`.
    pub use_rslora: bool,
    /// Each module, in the order of names.
    pub modules: Vec<PeftModule>,
    /// Bytes of all factors, as [`Self::adapter`] holds them.
    pub size_bytes: u64,
    /// Tensors in the file.
    pub tensor_count: usize,
    /// Weights of the base model that PEFT saved beside adapted embeddings, by tensor. They are not read: if the
    /// vocabulary was resized, the base model has to come with them.
    pub base_weights: Vec<String>,
    path: PathBuf,
    config_path: PathBuf,
    selection: Selection,
}

/// One module of an adapter that PEFT saved.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftModule {
    /// Its path in the base model.
    pub name: String,
    /// What it updates.
    pub kind: ModuleKind,
    /// Columns of A; for an embedding, the entries of its table.
    pub inputs: usize,
    /// Rows of B.
    pub outputs: usize,
    /// Rows of A and columns of B.
    pub rank: usize,
    /// What the scale was made from; VeRA has none.
    pub alpha: Option<f64>,
    /// What the product is multiplied by.
    pub scale: f32,
    /// Types of A and B.
    pub precisions: [Precision; 2],
}

/// What a module of an adapter updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// A linear map, by `lora_A` and `lora_B`.
    Linear,
    /// An embedding, by `lora_embedding_A` `[rank, entries]` and `lora_embedding_B` `[outputs, rank]`: row `i` of the
    /// table is updated by `scale * B A[:, i]`, as if `x` were the unit vector `i`.
    Embedding,
    /// A linear map, by VeRA's `vera_lambda_d` and `vera_lambda_b`.
    Vera,
}

impl PeftModule {
    /// The tensor that has as many columns (or as many entries) as the module has inputs.
    fn input_tensor(&self) -> String {
        let ending = match self.kind {
            ModuleKind::Linear => "lora_A.weight",
            ModuleKind::Embedding => "lora_embedding_A",
            ModuleKind::Vera => return vera::SHARED_A.into(),
        };
        format!("{PREFIX}{}.{ending}", self.name)
    }

    /// The tensor that has as many rows as the module has outputs.
    fn output_tensor(&self) -> String {
        let ending = match self.kind {
            ModuleKind::Linear => "lora_B.weight",
            ModuleKind::Embedding => "lora_embedding_B",
            ModuleKind::Vera => vera::LAMBDA_B,
        };
        format!("{PREFIX}{}.{ending}", self.name)
    }
}

/// Reads `adapter_config.json` and `adapter_model.safetensors` of a folder that PEFT wrote.
///
/// LoRA and rank-stabilised LoRA with ranks and alphas by pattern, for linear maps and embeddings, and VeRA, whose
/// update `lambda_b * (B (lambda_d * (A x)))` becomes the factors `diag(lambda_d) A` and `diag(lambda_b) B` in `f32`
/// with scale 1 (Kopiczko et al., ICLR 2024). VeRA files do not say how many inputs a module has: all get those of
/// the shared A. Where modules differ, [`read_adapter_for`] gives each its own.
///
/// The files must stay as they are until the call returns: the tensors are mapped.
///
/// ```
/// use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
/// let folder = tempfile::tempdir().expect("a temporary folder");
/// let config = r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"]}"#;
/// std::fs::write(folder.path().join("adapter_config.json"), config).expect("a written file");
/// let bytes: Vec<u8> = [1.0_f32, 2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
/// let a = TensorView::new(Dtype::F32, vec![1, 3], &bytes).expect("3 values");
/// let b = TensorView::new(Dtype::F32, vec![3, 1], &bytes).expect("3 values");
/// let names = ["base_model.model.layers.0.q_proj.lora_A.weight", "base_model.model.layers.0.q_proj.lora_B.weight"];
/// let file = folder.path().join("adapter_model.safetensors");
/// serialize_to_file([(names[0], a), (names[1], b)], None, &file).expect("a written file");
///
/// let read = tilefold::lora::read_adapter(folder.path())?;
/// let factors = &read.adapter.modules["layers.0.q_proj"];
/// assert_eq!((factors.rank(), factors.scale(), factors.a(0, 1)), (1, 2.0, 2.0));
/// # Ok::<(), tilefold::Error>(())
/// ```
///
/// # Errors
/// [`Error::File`] where a file cannot be read, [`Error::Format`] with the field or tensor for everything that is
/// malformed, missing, left over, not finite, of another type or shape, or more than a low-rank update (DoRA, biases,
/// full weights, ...; the message says what gives one), [`Error::TooLarge`] where VeRA would unfold to more than
/// 16 GiB.
pub fn read_adapter(directory: impl AsRef<Path>) -> Result<PeftAdapter> {
    read(directory.as_ref(), &BTreeMap::new())
}

/// As [`read_adapter`], for a base model with these `modules`, and checked against them: see [`PeftAdapter::check`].
///
/// # Errors
/// Those of [`read_adapter`] and of [`PeftAdapter::check`].
pub fn read_adapter_for(directory: impl AsRef<Path>, modules: &[Module]) -> Result<PeftAdapter> {
    let inputs = modules.iter().map(|module| (module.name.as_str(), module.inputs)).collect();
    let read = read(directory.as_ref(), &inputs)?;
    read.check(modules)?;
    Ok(read)
}

/// What the tensors gave.
#[derive(Default)]
pub(super) struct Assembled {
    pub(super) adapter: Adapter,
    pub(super) modules: Vec<PeftModule>,
    pub(super) base_weights: Vec<String>,
}

fn read(directory: &Path, inputs: &BTreeMap<&str, usize>) -> Result<PeftAdapter> {
    let folder = folder(directory)?;
    let config = Config::read(&folder)?;
    let path = tensor_path(&folder)?;
    let file = TensorFile::open(path.clone())?;
    let mut tensors = file.tensors()?;
    let tensor_count = tensors.count();
    let (peft_type, default_alpha, use_rslora, assembled) = match &config.method {
        Method::Lora(scaling) => {
            let assembled = lora::assemble(&config, scaling, &mut tensors)?;
            ("LORA", Some(scaling.alpha), scaling.use_rslora, assembled)
        }
        Method::Vera { saves_projection } => {
            let assembled = vera::assemble(&config, *saves_projection, inputs, &mut tensors)?;
            ("VERA", None, false, assembled)
        }
    };
    if assembled.modules.is_empty() {
        return Err(malformed(&path, "the factors of at least 1 module", "no tensors"));
    }
    let search = Search::new(&config.path);
    for module in &assembled.modules {
        if config.selection.selects(&module.name, &search)? == Some(false) {
            let expected = format!("modules that {CONFIG_FILE} selects");
            return Err(malformed(&path, expected, module.input_tensor()));
        }
    }
    Ok(PeftAdapter {
        peft_type,
        base_model: config.base_model,
        default_rank: config.rank,
        default_alpha,
        use_rslora,
        size_bytes: assembled.modules.iter().map(PeftModule::size_bytes).sum(),
        modules: assembled.modules,
        adapter: assembled.adapter,
        tensor_count,
        base_weights: assembled.base_weights,
        path,
        config_path: config.path,
        selection: config.selection,
    })
}

/// The file of tensors, or what is there in its place.
fn tensor_path(folder: &Path) -> Result<PathBuf> {
    const OTHERS: [(&str, &str); 2] = [
        ("adapter_model.bin", "a pickle, which runs code when it is read; load and save it again with PEFT"),
        ("adapter_model.safetensors.index.json", "several files; save the adapter as one"),
    ];
    let path = folder.join(TENSOR_FILE);
    if path.exists() {
        return Ok(path);
    }
    let other = OTHERS.iter().find(|(name, _)| folder.join(name).exists());
    let got = other.map_or("no such file".into(), |(name, reason)| format!("{name}: {reason}"));
    Err(malformed(folder, TENSOR_FILE, got))
}

impl PeftModule {
    fn size_bytes(&self) -> u64 {
        let [a, b] = self.precisions.map(Precision::size_bytes);
        (self.rank * (self.inputs * a + self.outputs * b)) as u64
    }
}

impl PeftAdapter {
    /// Whether the adapter fits a base model that has exactly these linear maps and embeddings.
    ///
    /// # Errors
    /// [`Error::Format`], naming the tensor, where the adapter updates a module that is not among them or one of
    /// another shape, or lacks one that its `target_modules` select.
    pub fn check(&self, modules: &[Module]) -> Result<()> {
        let known: BTreeMap<&str, &Module> =
            modules.iter().map(|module| (module.name.as_str(), module)).collect();
        for found in &self.modules {
            let Some(module) = known.get(found.name.as_str()) else {
                return Err(malformed(&self.path, "modules of the base model", found.input_tensor()));
            };
            let rank = found.rank;
            if found.inputs != module.inputs {
                let got = format!("[{rank}, {}]", found.inputs);
                return Err(self.misfit(
                    &found.input_tensor(),
                    &format!("[{rank}, {}]", module.inputs),
                    &got,
                ));
            }
            if found.outputs != module.outputs {
                let got = format!("[{}, {rank}]", found.outputs);
                return Err(self.misfit(
                    &found.output_tensor(),
                    &format!("[{}, {rank}]", module.outputs),
                    &got,
                ));
            }
        }
        let search = Search::new(&self.config_path);
        for module in modules {
            let is_selected = self.selection.selects(&module.name, &search)? == Some(true);
            if is_selected && !self.adapter.modules.contains_key(&module.name) {
                let expected = format!("{PREFIX}{}, as {CONFIG_FILE} selects it", module.name);
                return Err(malformed(&self.path, expected, "no tensors of it"));
            }
        }
        Ok(())
    }

    fn misfit(&self, tensor: &str, expected: &str, got: &str) -> Error {
        malformed(&self.path, format!("shape {expected}"), format!("{tensor}: {got}"))
    }
}
