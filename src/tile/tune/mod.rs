//! Measures candidates on a device, remembers which was fastest, and chooses by what is remembered.

mod trial;
#[cfg(test)]
mod trial_tests;
