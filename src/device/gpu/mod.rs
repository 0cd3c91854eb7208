//! A GPU: buffers from a pool under a budget, kernels compiled once, work recorded in a batch, every call under error scopes.
//!
//! Read in this order: `context` (the opened device), `buffers`, `pipelines`, `batch` (what is recorded), `flight` (what is
//! submitted), `upload` and `readback`, `faults`.

mod batch;
mod buffers;
pub(crate) mod cache_file;
pub(crate) mod context;
pub(crate) mod faults;
mod flight;
#[cfg(any(test, feature = "test-hooks"))]
mod hooks;
mod pacer;
mod pipeline_cache;
pub(crate) mod pipelines;
mod profile;
mod program;
mod readback;
mod spirv;
mod spirv_elements;
mod tally;
#[cfg(test)]
mod tests;
mod upload;

pub(crate) use self::{
    batch::{Arena, Batch},
    buffers::{DeviceBuffer, Slice},
    context::Gpu,
    pacer::Pacer,
    pipeline_cache::Pipeline,
    profile::Stage,
    program::{Encoded, MOST_DISPATCHES, Program, Sent},
};
