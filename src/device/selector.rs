//! From a selector's text to one adapter of a list: a pure function, so that it is tested without any device.

use super::adapters::{Adapter, DeviceType};
use crate::error::{Error, Result};

/// Backends that a selector may name, best first: the order breaks ties between two views of one card.
const BACKENDS: [&str; 4] = ["vulkan", "metal", "dx12", "gl"];

/// Position in `adapters` of the one that `text` names: "" (the best, software included), an index into the list,
/// a backend (`vulkan`) or an index within it (`vulkan:0`), a PCI bus id (`0000:01:00.0` or `01:00.0`), or part of
/// the name in any case. Where several match, the best of them is taken.
///
/// # Errors
/// [`Error::Device`] where none matches; it lists what exists.
pub(super) fn choose(adapters: &[Adapter], text: &str) -> Result<usize> {
    let wanted = text.trim().to_lowercase();
    let found = if let Ok(index) = wanted.parse::<usize>() {
        (index < adapters.len()).then_some(index)
    } else if let Some((backend, index)) = backend_and_index(&wanted) {
        adapters.iter().position(|a| a.backend == backend && a.backend_index == index)
    } else if BACKENDS.contains(&wanted.as_str()) {
        best(adapters, |a| a.backend == wanted)
    } else {
        best(adapters, |a| !wanted.is_empty() && has_bus_id(a, &wanted))
            .or_else(|| best(adapters, |a| a.name.to_lowercase().contains(&wanted)))
    };
    found.ok_or_else(|| Error::Device {
        selector: shortened(text, 40),
        expected: "an index, backend:index, PCI bus id or part of a name of a listed adapter".into(),
        got: listed(adapters),
    })
}

/// Position of the adapter that `auto` takes: the best one that is real hardware.
pub(super) fn best_hardware(adapters: &[Adapter]) -> Option<usize> {
    best(adapters, |a| a.device_type != DeviceType::Software)
}

fn backend_and_index(wanted: &str) -> Option<(&str, usize)> {
    let (backend, index) = wanted.split_once(':')?;
    if !BACKENDS.contains(&backend) {
        return None;
    }
    Some((backend, index.parse().ok()?))
}

fn has_bus_id(adapter: &Adapter, wanted: &str) -> bool {
    let id = adapter.pci_bus_id.to_lowercase();
    // A bus id without its domain is what most tools print.
    !id.is_empty() && (id == wanted || id.split_once(':').is_some_and(|(_, short)| short == wanted))
}

fn best(adapters: &[Adapter], accept: impl Fn(&Adapter) -> bool) -> Option<usize> {
    let rank = |adapter: &Adapter| {
        let kind = match adapter.device_type {
            DeviceType::Discrete => 0,
            DeviceType::Integrated => 1,
            DeviceType::Virtual | DeviceType::Other => 2,
            DeviceType::Software => 3,
        };
        let backend = BACKENDS.iter().position(|name| *name == adapter.backend);
        (kind, backend.unwrap_or(BACKENDS.len()))
    };
    adapters
        .iter()
        .enumerate()
        .filter(|(_, a)| accept(a))
        .min_by_key(|(at, a)| (rank(a), *at))
        .map(|(at, _)| at)
}

/// What exists, short enough for an error message.
fn listed(adapters: &[Adapter]) -> String {
    const SHOWN: usize = 3;
    if adapters.is_empty() {
        return "no adapter at all".into();
    }
    let mut names: Vec<String> = adapters
        .iter()
        .take(SHOWN)
        .map(|a| format!("{} {} [{}:{}]", a.index, shortened(&a.name, 36), a.backend, a.backend_index))
        .collect();
    if adapters.len() > SHOWN {
        names.push(format!("{} more", adapters.len() - SHOWN));
    }
    names.join(", ")
}

/// The first `limit` characters, with a mark where something was cut.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::adapters::tests::adapter;

    fn machine() -> Vec<Adapter> {
        vec![
            adapter(0, "llvmpipe (LLVM 21)", "vulkan", 0, "", DeviceType::Software),
            adapter(1, "Intel(R) UHD Graphics 770", "vulkan", 1, "0000:00:02.0", DeviceType::Integrated),
            adapter(2, "NVIDIA GeForce RTX 4090", "dx12", 0, "0000:01:00.0", DeviceType::Discrete),
            adapter(3, "NVIDIA GeForce RTX 4090", "vulkan", 2, "0000:01:00.0", DeviceType::Discrete),
            adapter(4, "NVIDIA GeForce RTX 4090", "vulkan", 3, "0000:02:00.0", DeviceType::Discrete),
        ]
    }

    #[test]
    fn every_form_of_selector_finds_its_adapter() {
        for (text, expected) in [
            ("", 3),
            ("0", 0),
            ("4", 4),
            ("vulkan:0", 0),
            ("VULKAN:3", 4),
            ("dx12:0", 2),
            ("vulkan", 3),
            ("dx12", 2),
            ("0000:02:00.0", 4),
            ("02:00.0", 4),
            ("00:02.0", 1),
            ("geforce", 3),
            ("uhd", 1),
            (" LLVMpipe ", 0),
        ] {
            assert_eq!(choose(&machine(), text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_does_not_exist_is_refused_with_the_list() {
        for text in ["5", "vulkan:4", "metal", "metal:0", "radeon", "03:00.0", "-1", "vulkan:x", "\u{1F600}"]
        {
            let message = choose(&machine(), text).unwrap_err().to_string();
            assert!(message.contains("UHD") && message.contains("2 more"), "{message}");
            assert!(message.len() < 300, "{}: {message}", message.len());
        }
        let message = choose(&[], "").unwrap_err().to_string();
        assert!(message.contains("no adapter at all"), "{message}");
        let long = choose(&machine(), &"x".repeat(10_000)).unwrap_err().to_string();
        assert!(long.len() < 300, "{}", long.len());
    }

    #[test]
    fn auto_never_takes_a_software_adapter() {
        assert_eq!(best_hardware(&machine()), Some(3));
        assert_eq!(best_hardware(&machine()[..2]), Some(1));
        assert_eq!(best_hardware(&machine()[..1]), None);
        assert_eq!(best_hardware(&[]), None);
    }
}
