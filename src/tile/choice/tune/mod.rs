//! Measures candidates on a device, remembers which was fastest, and chooses by what is remembered. The command measures;
//! the library without it chooses.

pub(crate) mod cache;
#[cfg(any(feature = "cli", test))]
pub(crate) mod search;
pub(crate) mod table;
#[cfg(any(feature = "cli", test))]
pub(crate) mod trial;
#[cfg(test)]
mod trial_tests;
