//! Tables on disk: one file per adapter in the user's cache folder. A file that is damaged, or that another driver or
//! another version of the kernels left, is not used, with a warning; the next tuning replaces it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::table::Table;
use crate::device::gpu::cache_file::{self, CacheFile, Loaded};
use crate::device::{Adapter, Gpu};
use crate::kernel::checksum;

const FILE: CacheFile = CacheFile { magic: b"tilefold tuning 1\n", max_bytes: 4 << 20 };

/// Set to anything, it switches the file off.
const SWITCH: &str = "TILEFOLD_NO_TUNING_CACHE";

/// What measurements hold for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    name: String,
    backend: String,
    vendor_id: u32,
    device_id: u32,
    driver: String,
    driver_info: String,
    /// Checksum of the templates of the tile's kernels, and the version that renders them.
    shaders: u32,
    version: String,
}

impl Key {
    pub(crate) fn of(adapter: &Adapter) -> Self {
        Self {
            name: adapter.name.clone(),
            backend: adapter.backend.clone(),
            vendor_id: adapter.vendor_id,
            device_id: adapter.device_id,
            driver: adapter.driver.clone(),
            driver_info: adapter.driver_info.clone(),
            shaders: checksum("tile/"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The file's name: the adapter, whatever its driver.
    fn file_name(&self) -> String {
        let Self { name, backend, vendor_id, device_id, .. } = self;
        let name = crc32fast::hash(name.as_bytes());
        format!("{backend}-{vendor_id:04x}-{device_id:04x}-{name:08x}")
    }
}

/// A file's content.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    key: Key,
    table: Table,
}

/// The table in `file`, if it is whole and holds for this key.
pub(crate) fn load(file: &Path, key: &Key) -> Option<Table> {
    let unusable = |reason: &str| {
        tracing::warn!(file = %file.display(), reason, "the tuning cache is not used; `tilefold tune` replaces it");
        None
    };
    let data = match FILE.load(file) {
        Loaded::Absent => return None,
        Loaded::Damaged => return unusable("damaged"),
        Loaded::Whole(data) => data,
    };
    match serde_json::from_slice::<Content>(&data) {
        Ok(content) if content.key == *key => Some(content.table),
        Ok(_) => unusable("of another driver or version"),
        Err(_) => unusable("not understood"),
    }
}

/// Adds a table to what `file` holds for this key.
#[cfg(any(feature = "cli", test))]
pub(crate) fn store(file: &Path, key: &Key, table: &Table) -> std::io::Result<()> {
    let mut merged = load(file, key).unwrap_or_default();
    merged.merge(table);
    let content = Content { key: key.clone(), table: merged };
    FILE.store(file, &serde_json::to_vec(&content)?)
}

/// Where the table of an adapter lies; `None` where caching is switched off or the user has no cache folder.
pub(crate) fn file_of(gpu: &Gpu) -> Option<PathBuf> {
    if std::env::var_os(SWITCH).is_some() {
        return None;
    }
    Some(cache_file::folder("tuning")?.join(Key::of(gpu.adapter()).file_name()))
}

/// Tables that this process has read, by their files.
static TABLES: Mutex<Option<HashMap<PathBuf, Arc<Table>>>> = Mutex::new(None);

/// What is known of a device: read once per process.
pub(crate) fn table_of(gpu: &Gpu) -> Arc<Table> {
    // Unit tests leave the user's folder alone.
    let Some(file) = file_of(gpu).filter(|_| !cfg!(test)) else { return Arc::default() };
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = tables.get_or_insert_default();
    if let Some(table) = known.get(&file) {
        return Arc::clone(table);
    }
    let table = Arc::new(load(&file, &Key::of(gpu.adapter())).unwrap_or_default());
    known.insert(file, Arc::clone(&table));
    table
}

/// Remembers a table on disk, for this process too. Where that fails only time is lost later.
#[cfg(feature = "cli")]
pub(crate) fn remember(gpu: &Gpu, table: &Table) -> Option<PathBuf> {
    let file = file_of(gpu)?;
    if let Err(error) = store(&file, &Key::of(gpu.adapter()), table) {
        tracing::warn!(file = %file.display(), %error, "the tuning cache was not written");
        return None;
    }
    if let Some(known) = TABLES.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        known.remove(&file);
    }
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Limits;
    use crate::tile::choice::choose::Task;
    use crate::tile::choice::family::Fold;
    use crate::tile::choice::model::Speeds;
    use crate::tile::choice::tune::table::{Class, Entry};

    fn key() -> Key {
        let words = |text: &str| text.to_owned();
        Key {
            name: words("a GPU"),
            backend: words("vulkan"),
            vendor_id: 0x10de,
            device_id: 7,
            driver: words("driver"),
            driver_info: words("1.2"),
            shaders: checksum("tile/"),
            version: words("1"),
        }
    }

    fn task(rows: usize) -> Task {
        Task { fold: Fold::Nearest, rows, columns: 100, depth: 100 }
    }

    fn table(rows: usize) -> Table {
        let mut table = Table::of(Speeds::new(1e12, 1e11, 1e-5, None));
        let candidate = "64x32 4x4 d8 chunks scalars".to_owned();
        table.remember(Entry { class: Class::of(&task(rows)), candidate, seconds: 0.5 });
        table
    }

    #[test]
    fn tables_are_read_back_and_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep").join(key().file_name());
        assert_eq!(load(&file, &key()), None);
        store(&file, &key(), &table(1000)).unwrap();
        assert_eq!(load(&file, &key()), Some(table(1000)));
        store(&file, &key(), &table(1_000_000)).unwrap();
        let mut both = table(1000);
        both.merge(&table(1_000_000));
        let found = load(&file, &key()).unwrap();
        assert_eq!(found, both);
        assert_eq!(found.shape(&task(5000), &Limits::for_tests()).to_string(), "64x32 4x4 d8 chunks scalars");
    }

    #[test]
    fn what_is_damaged_or_foreign_is_not_used_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(key().file_name());
        let others = [
            Key { driver_info: "1.3".into(), ..key() },
            Key { driver: "other".into(), ..key() },
            Key { shaders: 1, ..key() },
            Key { version: "2".into(), ..key() },
            Key { device_id: 8, ..key() },
            Key { vendor_id: 8, ..key() },
            Key { name: "b GPU".into(), ..key() },
        ];
        for other in others {
            store(&file, &other, &table(1000)).unwrap();
            assert_eq!(load(&file, &key()), None, "{other:?}");
        }
        store(&file, &key(), &table(1000)).unwrap();
        let whole = std::fs::read(&file).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&file, &damaged).unwrap();
            assert_eq!(load(&file, &key()), None, "byte {at}");
            std::fs::write(&file, &whole[..at]).unwrap();
            assert_eq!(load(&file, &key()), None, "cut to {at} bytes");
        }
        // Whole, but nothing that this version writes.
        FILE.store(&file, b"{\"key\": 3}").unwrap();
        assert_eq!(load(&file, &key()), None);
        store(&file, &key(), &table(1000)).unwrap();
        assert_eq!(load(&file, &key()), Some(table(1000)), "replaced");
    }

    /// Whatever stands behind a right checksum is a table that chooses, or none.
    #[test]
    fn changed_content_behind_a_right_checksum_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(key().file_name());
        store(&file, &key(), &table(1000)).unwrap();
        let Loaded::Whole(whole) = FILE.load(&file) else { panic!("not whole") };
        let mut loaded = 0;
        for at in 0..whole.len() {
            for byte in *b"09-e\"{" {
                let mut changed = whole.clone();
                changed[at] = byte;
                FILE.store(&file, &changed).unwrap();
                let Some(found) = load(&file, &key()) else { continue };
                loaded += 1;
                let _some = found.shape(&task(1000), &Limits::for_tests());
            }
        }
        assert!(loaded > 100, "{loaded}");
    }
}
