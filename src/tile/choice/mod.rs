//! Which tile a GPU runs: shapes, the static choice, the model, tuning.

pub(crate) mod choose;
pub(crate) mod cut;
pub(crate) mod family;
pub(crate) mod model;
pub(crate) mod shape;
pub(crate) mod tune;
pub(crate) mod turns;
