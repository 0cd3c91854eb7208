//! Measures candidates on a device, remembers which was fastest, and chooses by what is remembered.

pub(crate) mod cache;
pub(crate) mod search;
pub(crate) mod table;
pub(crate) mod trial;
#[cfg(test)]
mod trial_tests;
