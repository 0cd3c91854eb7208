//! Devices that screen with products of f16: on their own matrix units, and with plain WGSL in place of 16x16x16 ones.

use tilefold::{Device, UnitsState, units_state};

use super::backends;

/// The device's units; plain matrices of 8 where a device has none, which the name of the state then says.
pub fn units() -> Device {
    let device = backends::gpu().with_matrix_units(true);
    match units_state(&device).expect("the state of matrix units") {
        UnitsState::Passed(units) => {
            println!("{} on {units:?}", device.name());
            device
        }
        UnitsState::Failed(units, reason) => panic!("{units:?}: {reason}"),
        state => {
            println!("{}: {state:?}, plain matrices of 8 instead", device.name());
            device.with_plain_matrices(8)
        }
    }
}

pub fn plain() -> Device {
    backends::gpu().with_plain_matrices(16)
}

/// Makes `units::NAME` and `plain::NAME` of each function.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod units {
            $(#[test]
            #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
            fn $test() {
                super::$test(&$crate::support::matrix::units());
            })+
        }
        mod plain {
            $(#[test]
            #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
            fn $test() {
                super::$test(&$crate::support::matrix::plain());
            })+
        }
    };
}
pub(crate) use on_both;
