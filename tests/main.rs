//! All tests that use the public interface, in one binary: it links once.
//!
//! Where a new test goes:
//! - What must hold on every backend: a plain `fn what(device: &Device)` in the slice's file (`kmeans.rs`,
//!   `distance.rs`, ...), listed in that file's `on_every_backend!`. New slice: new file, one line below.
//! - Shader text, WGSL structs, naga's outputs: `shaders.rs`. The command: `cli.rs`. Who may import whom:
//!   `architecture.rs`, and who stands above whom: `circles.rs`. Private functions: `#[cfg(test)] mod tests` beside them in `src`.
//! - Made-up data and its sizes: `support/cases.rs`. A comparison, with the fault that it must catch:
//!   `support/compare.rs` and `support/comparator_faults.rs`.

mod architecture;
mod circles;
mod cli;
mod cli_stopped;
mod devices;
mod differential;
mod distance;
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
mod distance_faults;
mod distance_gpu;
mod distance_metrics;
mod distance_rules;
mod kmeans;
mod kmeans_bits;
mod kmeans_checkpoint;
mod kmeans_digits;
mod kmeans_exact;
mod kmeans_faults;
mod kmeans_inputs;
mod kmeans_killed;
mod kmeans_limits;
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
mod kmeans_matrix;
mod kmeans_model;
mod kmeans_prune;
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
mod kmeans_prune_gpu;
mod kmeans_random;
mod kmeans_rules;
mod kmeans_sparse;
mod kmeans_stop;
mod kmeans_update;
mod kmedoids;
mod kmedoids_bits;
mod kmedoids_cli;
mod kmedoids_digits;
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
mod kmedoids_faults;
#[cfg(feature = "test-hooks")]
mod kmedoids_stop;
mod lora;
mod lora_cli;
mod lora_inputs;
mod lora_measure;
mod lora_peft;
mod lora_peft_mixed;
mod lora_peft_refused;
mod lora_peft_saved;
mod lora_pool;
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
mod lora_pool_gpu;
#[cfg(feature = "gpu")]
mod lora_record;
mod lora_reports;
mod lora_shapes;
mod lora_shards;
mod lora_simulate;
mod measure_bench;
mod measure_report;
mod measure_roofs;
mod measure_verify;
mod memory;
mod neighbours;
mod neighbours_cli;
mod neighbours_estimates;
mod neighbours_exact;
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
mod neighbours_faults;
#[cfg(feature = "gpu")]
mod neighbours_gpu;
#[cfg(feature = "test-hooks")]
mod neighbours_grid;
mod neighbours_many;
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
mod neighbours_matrix;
mod neighbours_metrics;
mod neighbours_radius;
mod neighbours_rules;
mod readers;
mod readers_damaged;
#[cfg(feature = "gpu")]
mod shaders;
mod support;
#[cfg(feature = "gpu")]
mod tune;
mod writers;
