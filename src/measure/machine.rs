//! What a measurement ran on, in words.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::device::{Device, DeviceType, adapters};
use crate::memory::free_bytes;

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The processor's name, or its architecture where the system does not tell.
    pub cpu: String,
    /// Threads that run at once.
    pub threads: u64,
    /// Widest vectors that the CPU path uses: `portable`, `avx2`, `avx512` or `neon`.
    pub simd: String,
    /// Operating system and architecture.
    pub os: String,
    /// Memory that is free, where the system tells it.
    pub free_memory_bytes: Option<u64>,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        Self {
            cpu: cpu_name().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            threads: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            simd: format!("{:?}", crate::simd::level()).to_ascii_lowercase(),
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            free_memory_bytes: free_bytes(),
        }
    }
}

/// The device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceFacts {
    /// The device in words.
    pub name: String,
    /// `cpu`, `reference`, or the API: `vulkan`, `metal`, `dx12`.
    pub backend: String,
    /// Driver with its version; empty for the CPU.
    pub driver: String,
    /// `discrete`, `integrated`, `software`; empty for the CPU.
    pub adapter_type: String,
    /// Whether it is a driver that runs on the CPU: its times say nothing of GPUs.
    pub is_software: bool,
}

impl DeviceFacts {
    /// Of a device: an adapter is found again by its name.
    pub fn of(device: &Device) -> Self {
        let name = device.name().trim_start_matches("auto: ").to_owned();
        let listed = adapters();
        let Some(adapter) =
            listed.iter().find(|adapter| format!("{} [{}]", adapter.name, adapter.backend) == name)
        else {
            let backend = if name == "reference" { "reference" } else { "cpu" };
            return Self { name, backend: backend.to_owned(), ..Self::default() };
        };
        Self {
            name,
            backend: adapter.backend.clone(),
            driver: format!("{} {}", adapter.driver, adapter.driver_info).trim().to_owned(),
            adapter_type: adapter.device_type.as_str().to_owned(),
            is_software: adapter.device_type == DeviceType::Software,
        }
    }
}

fn cpu_name() -> Option<String> {
    let from_file = || {
        let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    // Windows sets the variable.
    from_file().or_else(|| std::env::var("PROCESSOR_IDENTIFIER").ok())
}

/// The time in UTC: `2026-01-31T12:00:00Z`.
pub fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    utc(seconds)
}

/// Days are counted in eras of 400 years that begin on a 1 March.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }
}
