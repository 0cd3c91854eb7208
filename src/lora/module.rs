//! One linear map of a base model.

/// A linear map (or an embedding) of a base model that an adapter may update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its path in the model: `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Features that come in; for an embedding, the entries of its table.
    pub inputs: usize,
    /// Features that go out.
    pub outputs: usize,
}
