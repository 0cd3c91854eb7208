//! What tests share: backends to run on, data to run with, and comparisons that can fail.

pub mod cases;
mod comparator_faults;
pub mod compare;
