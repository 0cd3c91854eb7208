//! The test battery.

mod readers;
mod readers_damaged;
mod writers;
