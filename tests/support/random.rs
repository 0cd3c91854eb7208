//! How many random problems a property is tried on.

use proptest::prelude::ProptestConfig;

/// As many as proptest tries by itself.
const DEFAULT: u32 = 256;

/// `usual` problems, and in proportion more or fewer where the variable `PROPTEST_CASES` asks for other than proptest's
/// own 256: a number that a test states would else hide the variable. Failures are printed, not written to files.
pub fn cases(usual: u32) -> ProptestConfig {
    let asked = ProptestConfig::default().cases;
    let cases = (u64::from(usual) * u64::from(asked)).div_ceil(u64::from(DEFAULT)) as u32;
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
