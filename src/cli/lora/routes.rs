//! The file of `--routes`: which adapters each row goes through, one route per line.

use std::ops::Range;
use std::path::Path;

use crate::cancel::Cancel;
use crate::data::records::{Columns, read_records};
use crate::error::Result;
use crate::lora::{Route, Routes};
use crate::memory::{self, area};

/// The routes of a file, rows in order and those of a row in the order of their lines.
#[derive(Debug)]
pub(super) struct Listed {
    routes: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    row: usize,
    slot: u32,
    scale: f32,
}

impl Listed {
    /// Reads a CSV file with the columns row, adapter and, if wanted, scale, in any order. `names` are those of the
    /// adapters: a field names one by its position or by its name.
    pub fn read(path: &Path, names: &[String], rows: usize, cancel: &Cancel) -> Result<Self> {
        let columns = Columns { names: &["row", "adapter", "scale"], optional: 1 };
        let number = |text: &str| text.parse().ok().filter(|scale: &f32| scale.is_finite());
        let mut routes = read_records(path, columns, cancel, |record| {
            // A table has at least one row.
            let expected = format!("a row of x, 0 to {}", rows - 1);
            let row = record.field(0, expected, |text| text.parse().ok().filter(|&row| row < rows))?;
            let expected = format!("one adapter: 0 to {} or the last part of its path", names.len() - 1);
            let slot = record.field(1, expected, |text| slot(text, names))?;
            let scale = if record.has(2) { record.field(2, "a finite number", number)? } else { 1.0 };
            Ok(Entry { row, slot, scale })
        })?;
        // The sort is stable: lines of one row keep their order. It takes room for as many.
        memory::ask("the routes in order", &[area::<Entry>(routes.len(), 1)])?;
        routes.sort_by_key(|route| route.row);
        Ok(Self { routes })
    }

    /// Number of lines.
    pub fn count(&self) -> usize {
        self.routes.len()
    }

    /// Rows that go through an adapter for which `counts` holds.
    pub fn rows_with(&self, counts: impl Fn(usize) -> bool) -> usize {
        let rows = self.routes.chunk_by(|a, b| a.row == b.row);
        rows.filter(|routes| routes.iter().any(|route| counts(route.slot as usize))).count()
    }

    /// The routes of rows `rows`; `slots` says which slot stands for an adapter, none for those that have no update.
    pub fn of_rows(&self, rows: Range<usize>, slots: &[Option<u32>]) -> Result<Routes> {
        let end = self.routes.partition_point(|route| route.row < rows.end);
        let mut at = self.routes.partition_point(|route| route.row < rows.start);
        // Lists are copied while they grow; one row may have all routes.
        let parts = [area::<(Route, (u32, f32))>(end - at, 3), area::<usize>(rows.len(), 3)];
        memory::ask("the routes of some rows", &parts)?;
        let mut routes = Routes::new();
        let mut row_routes = Vec::new();
        for row in rows {
            row_routes.clear();
            while let Some(route) = self.routes.get(at).filter(|route| route.row == row) {
                row_routes.extend(slots[route.slot as usize].map(|slot| (slot, route.scale)));
                at += 1;
            }
            routes.push_scaled(&row_routes)?;
        }
        Ok(routes)
    }
}

/// The one adapter that `text` names by position or by name. A text that could mean two names none.
fn slot(text: &str, names: &[String]) -> Option<u32> {
    let position = text.parse().ok().filter(|&position: &usize| position < names.len());
    let mut named = (0..names.len()).filter(|&slot| names[slot] == text);
    let first = position.or_else(|| named.next())?;
    let is_alone = named.all(|slot| slot == first);
    u32::try_from(first).ok().filter(|_| is_alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str, rows: usize) -> Result<Listed> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.csv");
        std::fs::write(&path, text).unwrap();
        Listed::read(&path, &["en".into(), "de".into(), "de".into(), "0".into()], rows, &Cancel::new())
    }

    #[test]
    fn lines_of_a_row_keep_their_order() {
        let listed = listed("scale,adapter,row\n2,1,3\n# none\n0.5, en ,0\n-1,2,3\n", 5).unwrap();
        let slots = [Some(0), Some(1), None, None];
        let routes = listed.of_rows(0..5, &slots).unwrap();
        let of_row = |routes: &Routes, row| -> Vec<(u32, f32)> {
            routes.of_row(row).iter().map(|route| (route.slot, route.scale)).collect()
        };
        assert_eq!((routes.rows(), listed.count()), (5, 3));
        assert_eq!([of_row(&routes, 0), of_row(&routes, 1)], [vec![(0, 0.5)], vec![]]);
        assert_eq!(of_row(&routes, 3), [(1, 2.0)]);
        let all = listed.of_rows(3..4, &[Some(7), Some(8), Some(9), None]).unwrap();
        assert_eq!(of_row(&all, 0), [(8, 2.0), (9, -1.0)]);
        assert_eq!((listed.rows_with(|_| true), listed.rows_with(|slot| slot == 2)), (2, 1));
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, words) in [
            ("", "an empty file"),
            ("row\n", "a column adapter"),
            ("row,adapter,weight\n", "\"weight\" in line 1, column 3"),
            ("row,row,adapter\n", "\"row\" in line 1, column 2"),
            ("row,adapter\n0,1,2\n", "expected 2 fields, got 3 in line 2"),
            ("row,adapter\n0,1\n5,1\n", "0 to 4, got \"5\" in line 3, column row"),
            ("row,adapter\n# \"a\n\n  # \"b\n5,1\n", "got \"5\" in line 5, column row"),
            ("row,adapter\n0,1\n\"0,1\n1,1\n", "a quote in line 3 that never closes"),
            ("row,adapter\n0,1 # note\n", "\"1 # note\" in line 2"),
            ("row,adapter\n-1,1\n", "\"-1\" in line 2, column row"),
            (
                "row,adapter\n0,4\n",
                "0 to 3 or the last part of its path, got \"4\" in line 2, column adapter",
            ),
            ("row,adapter\n0,fr\n", "\"fr\" in line 2, column adapter"),
            ("row,adapter\n0,de\n", "\"de\" in line 2, column adapter"),
            ("row,adapter\n0,0\n", "\"0\" in line 2, column adapter"),
            ("row,adapter\n0,\n", "\"\" in line 2, column adapter"),
            ("row,adapter,scale\n0,1,\n", "a finite number, got \"\" in line 2, column scale"),
            ("row,adapter,scale\n0,1,nan\n", "\"nan\" in line 2, column scale"),
            ("row,adapter,scale\n0,1,1e39\n", "\"1e39\" in line 2, column scale"),
        ] {
            let message = listed(text, 5).unwrap_err().to_string();
            assert!(message.contains(words), "{text:?}: {message}");
        }
    }
}
