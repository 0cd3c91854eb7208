//! `tilefold devices`: what work can run on.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output;
use crate::device::{Adapter, Device, adapters};

#[derive(Debug, Args)]
pub(super) struct Devices {
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints the adapters, the CPU, and what `auto` takes.
pub(super) fn run(arguments: &Devices) -> Result<(), Failure> {
    let adapters = adapters();
    let text = if arguments.json { as_json(&adapters) } else { as_text(&adapters) };
    output::print(|stdout| stdout.write_all(text.as_bytes()))
}

fn as_json(adapters: &[Adapter]) -> String {
    let listed: Vec<Value> = adapters.iter().map(adapter_json).collect();
    let auto = Device::auto().name();
    let object = json!({ "adapters": listed, "cpu": Device::cpu().name(), "auto": auto });
    format!("{object:#}\n")
}

fn adapter_json(adapter: &Adapter) -> Value {
    let limits = &adapter.limits;
    json!({
        "index": adapter.index,
        "name": adapter.name,
        "selector": format!("{}:{}", adapter.backend, adapter.backend_index),
        "backend": adapter.backend,
        "type": adapter.device_type.as_str(),
        "vendor": adapter.vendor,
        "vendor_id": adapter.vendor_id,
        "device_id": adapter.device_id,
        "driver": adapter.driver,
        "driver_info": adapter.driver_info,
        "pci_bus_id": adapter.pci_bus_id,
        "features": adapter.features,
        "matrix": matrix_units(adapter),
        "limits": {
            "max_binding_bytes": limits.max_binding_bytes,
            "max_buffer_bytes": limits.max_buffer_bytes,
            "max_workgroups_per_dimension": limits.max_workgroups_per_dimension,
            "workgroup_storage_bytes": limits.workgroup_storage_bytes,
            "max_invocations_per_workgroup": limits.max_invocations_per_workgroup,
            "min_offset_alignment": limits.min_offset_alignment,
            "budget_bytes": limits.budget_bytes,
            "window_bytes": limits.window_bytes,
            "has_timestamps": limits.has_timestamps,
        },
    })
}

/// The matrix units of an adapter and how their self-test ended.
#[cfg(feature = "gpu")]
fn matrix_units(adapter: &Adapter) -> String {
    use crate::{UnitsState, units_state};
    let Some(units) = adapter.limits.matrix else { return "none that can be used".into() };
    let size = units.size;
    let units = format!("{size}x{size}x{size}, f16 to f32");
    let opened = Device::gpu(&adapter.index.to_string());
    match opened.and_then(|device| units_state(&device.with_matrix_units(true))) {
        Ok(UnitsState::Passed(_)) => format!("{units}, self-test passed"),
        Ok(UnitsState::Failed(_, reason)) => format!("{units}, off: self-test failed: {reason}"),
        Ok(UnitsState::Absent) => "off: the device opens only without them".into(),
        Err(error) => format!("{units}, off: {error}"),
    }
}

#[cfg(not(feature = "gpu"))]
fn matrix_units(_: &Adapter) -> String {
    String::new()
}

fn as_text(adapters: &[Adapter]) -> String {
    let mut text = String::new();
    for adapter in adapters {
        let Adapter { index, name, backend, backend_index, .. } = adapter;
        let kind = adapter.device_type.as_str();
        let mut line = |label: &str, value: &str| {
            if !value.is_empty() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{label:>10}  {value}");
            }
        };
        line(&index.to_string(), &format!("{name} [{backend}:{backend_index}], {kind}"));
        line("vendor", adapter.vendor);
        line("driver", format!("{} {}", adapter.driver, adapter.driver_info).trim());
        line("PCI", &adapter.pci_bus_id);
        let mib = |bytes: u64| bytes >> 20;
        let limits = &adapter.limits;
        let memory =
            format!("{} MiB to use, windows of {} MiB", mib(limits.budget_bytes), mib(limits.window_bytes));
        line("memory", &memory);
        line("features", &adapter.features.join(" "));
        line("matrix", &matrix_units(adapter));
    }
    if adapters.is_empty() {
        text.push_str("no GPU adapter\n");
    }
    let (cpu, auto) = (Device::cpu().name(), Device::auto().name());
    let _ = writeln!(text, "{:>10}  {cpu}\n{:>10}  the formula in f64, slow", "cpu", "reference");
    let _ = writeln!(text, "{:>10}  {}", "auto", auto.trim_start_matches("auto: "));
    text
}
