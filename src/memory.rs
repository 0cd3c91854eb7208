//! Memory that grows with the input is asked for before it is used. A request that the system refuses would end the
//! process, Python and all; here it is [`Error::TooLarge`], with the bytes.
//!
//! Whatever is sized by the caller's rows, columns or counts is made by one of these functions, or by one that first
//! [`ask`]s for the sum of what it will make. Tiles and other things of a fixed size are allocated plainly
//! (docs/decisions/0051-memory-is-asked-for.md).

use std::sync::OnceLock;

use bytemuck::Zeroable;
use memmap2::MmapMut;
use ndarray::Array2;

use crate::error::{Error, Result};

/// Sums below this are not asked for: they are what a process needs anyway.
const LEAST_ASKED: u64 = 1 << 20;

/// Bytes of `rows` x `columns` elements, or `u64::MAX` where that is beyond it.
pub(crate) fn area<T>(rows: usize, columns: usize) -> u64 {
    (rows as u64).saturating_mul(columns as u64).saturating_mul(size_of::<T>() as u64)
}

/// Bytes that `threads` threads need for `rows` rows of `T` each.
pub(crate) fn scratch<T>(threads: usize, rows: usize, columns: usize) -> u64 {
    area::<T>(rows, columns).saturating_mul(threads as u64)
}

/// Whether the system has room for the sum of these bytes, which are about to be allocated in parts. Nothing is kept.
///
/// # Errors
/// [`Error::TooLarge`], which says `what` the bytes are for.
pub(crate) fn ask(what: &str, parts: &[u64]) -> Result<()> {
    let bytes = parts.iter().fold(0_u64, |sum, &part| sum.saturating_add(part));
    if bytes < LEAST_ASKED {
        return Ok(());
    }
    check(what, bytes)?;
    // Pages that nobody touches cost nothing; mapping them is what the allocator would do.
    let room = usize::try_from(bytes).ok().and_then(|bytes| MmapMut::map_anon(bytes).ok());
    room.map_or_else(|| Err(refused(what, bytes)), |_| Ok(()))
}

/// `rows` x `columns` zeros. Their pages are touched by whoever writes them first: by all threads, not by this one.
pub(crate) fn zeroed<T: Zeroable>(what: &str, rows: usize, columns: usize) -> Result<Vec<T>> {
    let bytes = area::<T>(rows, columns);
    let what = || format!("{what} ({rows} x {columns})");
    if bytes >= LEAST_ASKED {
        check(&what(), bytes)?;
    }
    match bytemuck::allocation::try_zeroed_slice_box(rows * columns) {
        Ok(values) => Ok(values.into_vec()),
        Err(()) => Err(refused(&what(), bytes)),
    }
}

/// The same as an array.
pub(crate) fn zeros<T: Zeroable>(what: &str, rows: usize, columns: usize) -> Result<Array2<T>> {
    let values = zeroed(what, rows, columns)?;
    Array2::from_shape_vec((rows, columns), values)
        .map_err(|error| Error::shape("result", format!("{rows} x {columns}"), error))
}

/// An empty vector with room for `count` elements.
pub(crate) fn room<T>(what: &str, count: usize) -> Result<Vec<T>> {
    let bytes = area::<T>(count, 1);
    if bytes >= LEAST_ASKED {
        check(what, bytes)?;
    }
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| refused(what, bytes))?;
    Ok(values)
}

/// `count` times the same.
pub(crate) fn filled<T: Clone>(what: &str, count: usize, value: T) -> Result<Vec<T>> {
    let mut values = room(what, count)?;
    values.resize(count, value);
    Ok(values)
}

/// The values of an iterator that knows their number.
pub(crate) fn collected<T>(what: &str, values: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>> {
    let mut all = room(what, values.len())?;
    all.extend(values);
    Ok(all)
}

/// A copy.
pub(crate) fn copied<T: Copy>(what: &str, values: &[T]) -> Result<Vec<T>> {
    let mut copy = room(what, values.len())?;
    copy.extend_from_slice(values);
    Ok(copy)
}

/// Refuses what the machine can never hold, also where its system promises more memory than there is.
fn check(what: &str, bytes: u64) -> Result<()> {
    match all_bytes() {
        Some(limit_bytes) if bytes > limit_bytes => {
            Err(Error::TooLarge { what: what.to_owned(), needed_bytes: bytes, limit_bytes })
        }
        _ if bytes > isize::MAX as u64 => Err(refused(what, bytes)),
        _ => Ok(()),
    }
}

/// The system refused `bytes`: all that is known of its limit is that it lies below them.
pub(crate) fn refused(what: &str, bytes: u64) -> Error {
    let known = [free_bytes(), address_space_bytes(), Some(bytes.saturating_sub(1))];
    let limit_bytes = known.into_iter().flatten().min().unwrap_or(0);
    Error::TooLarge {
        what: format!("{what}, which the system has no memory for"),
        needed_bytes: bytes,
        limit_bytes,
    }
}

/// Bytes that are free, where the system says so.
pub(crate) fn free_bytes() -> Option<u64> {
    line_bytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Addresses that a limit of the process leaves, where it has one.
fn address_space_bytes() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit = line.split_whitespace().next()?.parse::<u64>().ok()?;
    let taken = line_bytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmSize:")?;
    Some(limit.saturating_sub(taken))
}

/// Bytes that this process can ever hold, swapped out or not: those of the machine, or of the container that it runs in.
fn all_bytes() -> Option<u64> {
    static ALL: OnceLock<Option<u64>> = OnceLock::new();
    *ALL.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let swap = line_bytes(&text, "SwapTotal:").unwrap_or(0);
        let machine = line_bytes(&text, "MemTotal:")?.saturating_add(swap);
        Some(container_bytes().map_or(machine, |bytes| bytes.saturating_add(swap).min(machine)))
    })
}

/// The limit of the control group, where it has one.
fn container_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = std::path::Path::new("/sys/fs/cgroup").join(group);
    std::fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()
}

/// The bytes of a line `name 123 kB`.
fn line_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no machine has.
    const ABSURD: usize = 1 << 46;

    #[test]
    fn what_no_machine_holds_is_an_error_with_its_bytes() {
        let outcomes = [
            ask("much", &[1 << 45, 1 << 45]),
            zeroed::<u8>("much", 1 << 23, 1 << 23).map(drop),
            room::<u8>("much", ABSURD).map(drop),
            filled("much", ABSURD, 1_u8).map(drop),
        ];
        for outcome in outcomes {
            match outcome {
                Err(Error::TooLarge { what, needed_bytes, limit_bytes }) => {
                    assert!(what.starts_with("much"), "{what}");
                    assert!(needed_bytes == ABSURD as u64 && limit_bytes < needed_bytes, "{limit_bytes}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn sums_beyond_64_bits_are_too_large() {
        assert_eq!(area::<f64>(usize::MAX, 2), u64::MAX);
        assert!(ask("all", &[u64::MAX, u64::MAX]).is_err());
        assert!(zeroed::<f64>("all", usize::MAX, usize::MAX).is_err());
        assert!(room::<f64>("all", usize::MAX).is_err());
    }

    #[test]
    fn what_fits_is_made() {
        ask("little", &[1 << 24]).unwrap();
        assert_eq!(filled("little", 3, 7_u8).unwrap(), [7; 3]);
        assert_eq!(zeroed::<u16>("little", 2, 2).unwrap(), [0; 4]);
        assert_eq!(copied("little", &[1, 2]).unwrap(), [1, 2]);
        assert_eq!(collected("little", (0..3).map(|i| i * 2)).unwrap(), [0, 2, 4]);
    }

    #[test]
    fn lines_are_read() {
        let text = "MemTotal:       24 kB\nSwapTotal: 8 kB\n";
        assert_eq!(line_bytes(text, "MemTotal:"), Some(24 << 10));
        assert_eq!(line_bytes(text, "MemFree:"), None);
    }
}
