//! Every parser of the project under files that were changed by chance: no panic, memory within a stated multiple of the
//! file, and what is read, written and read again is equal.
//!
//! `TILEFOLD_FUZZ_SECONDS` says how long each parser is tried, 300 files each without it; `TILEFOLD_FUZZ_SEED` where
//! chance begins. A file that fails stays in the folder of temporary files and is named.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adapters;
mod command;
mod costs;
mod fits;
mod harness;
mod memory;
mod mutate;
mod tables;
