//! What adapters apply to.

/// A linear map of a model that adapters may update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name as adapters have it: `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Features that go in.
    pub inputs: usize,
    /// Features that come out.
    pub outputs: usize,
}
