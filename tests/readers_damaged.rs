//! Files that lie, end early or are no files: a typed, short error, and nothing allocated on the file's word.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use proptest::prelude::*;
use tilefold::data::{ReadOptions, Table, read_vector_f64};
use tilefold::{Error, Result};

use crate::readers::{Folder, gzip, idx, npy, values, vecs};
use crate::support::random;

const LONGEST_MESSAGE: usize = 300;

/// The error of a file that must be refused as malformed, in at most 300 characters beside its path.
#[track_caller]
fn refused(path: &Path) -> String {
    let error = Table::open(path).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error:?}");
    assert!(read_vector_f64(path).is_err());
    check_message(path, &error)
}

#[track_caller]
fn check_message(path: &Path, error: &Error) -> String {
    let message = error.to_string().replace(&path.display().to_string(), "FILE");
    assert!(message.chars().count() <= LONGEST_MESSAGE, "{} characters: {message}", message.chars().count());
    assert!(!message.contains(|character: char| character.is_control()), "{message:?}");
    message
}

#[test]
fn npy_that_lies_about_its_shape_is_refused() {
    let folder = Folder::new();
    let data = [0; 16];
    for shape in [
        "(1000000000, 2)",
        "(4611686018427387905, 4)",
        "(18446744073709551615, 18446744073709551615)",
        "(99999999999999999999999999, 1)",
        "(2, 1)",
        "(2, 3)",
        "(-2, 2)",
        "(2.0, 2)",
        "()",
        "(2, 2, 1)",
        "(0, 2)",
        "(2, 0)",
        "(0, 18446744073709551615)",
        "(0,)",
        "[2, 2]",
        "2",
    ] {
        refused(&folder.file("x.npy", npy("'<f4'", "False", shape, 0, &data)));
    }
    let good = npy("'<f4'", "False", "(2, 2)", 0, &data);
    assert_eq!(Table::open(folder.file("x.npy", &good)).unwrap().rows(), 2);
    let message = refused(&folder.file("x.npy", npy("'<f4'", "False", "(0, 2)", 0, &[])));
    assert!(message.contains("0 rows"), "{message}");
    let message = refused(&folder.file("x.npy", npy("'<f4'", "False", "(1000000000, 2)", 0, &data)));
    assert!(message.contains("8000000000") && message.contains("16 bytes"), "{message}");
}

#[test]
fn npy_of_types_that_are_no_numbers_is_refused() {
    let folder = Folder::new();
    for descr in [
        "'|O'",
        "'<U5'",
        "'|S3'",
        "'<c8'",
        "'<f16'",
        "'<M8[ns]'",
        "[('a', '<f4')]",
        "'f4'",
        "'|f4'",
        "''",
        "'<'",
        "4",
    ] {
        refused(&folder.file("x.npy", npy(descr, "False", "(2, 2)", 0, &[0; 16])));
    }
    let message = refused(&folder.file("x.npy", npy("'|O'", "False", "(2, 2)", 0, &[0; 16])));
    assert!(message.contains("pickle"), "{message}");
}

#[test]
fn npy_headers_of_any_length_and_version_are_survived() {
    let folder = Folder::new();
    let mut huge = b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec();
    huge.extend(b"{'descr'");
    assert!(refused(&folder.file("x.npy", &huge)).contains("4294967295"));
    let mut nested = b"\x93NUMPY\x02\x00".to_vec();
    nested.extend(60_000_u32.to_le_bytes());
    nested.extend([b'['; 60_000]);
    refused(&folder.file("x.npy", &nested));
    let long_string = format!("'{}'", "\u{1b}\"\u{e9}".repeat(10_000));
    let header = format!("{{'descr': {long_string}, 'fortran_order': False, 'shape': (1, 1)}}");
    let mut long = b"\x93NUMPY\x03\x00".to_vec();
    long.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    long.extend(header.as_bytes());
    refused(&folder.file("x.npy", &long));
    for (major, minor) in [(0, 0), (1, 1), (4, 0), (255, 255)] {
        let mut bytes = npy("'|u1'", "False", "(1, 1)", 0, &[1]);
        (bytes[6], bytes[7]) = (major, minor);
        refused(&folder.file("x.npy", bytes));
    }
    refused(&folder.file("x.npy", "a text of another kind"));
}

#[test]
fn vecs_with_wrong_dimensions_are_refused() {
    let folder = Folder::new();
    for dimension in [0, -1, i32::MIN, i32::MAX, 1_000_001] {
        refused(&folder.file("x.fvecs", [&dimension.to_le_bytes()[..], &[0; 16]].concat()));
    }
    let row = [1.0_f32, 2.0].map(f32::to_le_bytes);
    let mut uneven = vecs(&[&row, &row, &row]);
    uneven[24] = 3;
    assert!(refused(&folder.file("x.fvecs", &uneven)).contains("row 2"));
    refused(&folder.file("x.fvecs", [1, 0]));
}

#[test]
fn idx_that_lies_is_refused() {
    let folder = Folder::new();
    let data = [1, 2, 3, 4];
    for bytes in [
        idx(8, &[u32::MAX, u32::MAX, u32::MAX, u32::MAX], &data),
        idx(8, &[u32::MAX], &data),
        idx(8, &[0, 2], &[]),
        idx(8, &[0, u32::MAX, u32::MAX], &[]),
        idx(8, &[2, 1], &data),
        idx(8, &[2, 3], &data),
        idx(7, &[2, 2], &data),
        idx(8, &[], &data),
        idx(8, &[1, 1, 1, 2, 2], &data),
        vec![0, 0],
    ] {
        refused(&folder.file("x.idx", &bytes));
        refused(&folder.file("x.gz", gzip(&bytes)));
    }
    let message = refused(&folder.file("x.gz", gzip(&idx(8, &[u32::MAX, u32::MAX], &data))));
    assert!(message.contains("too short"), "{message}");
    // Within the ratio of the largest claim that is allocated, but not in the file.
    let packed = gzip(&idx(8, &[20_000], &data));
    assert!(packed.len() * 1100 > 20_000);
    refused(&folder.file("x.gz", packed));
    // More than the header claims: a bomb is not unpacked.
    refused(&folder.file("x.gz", gzip(&idx(8, &[4], &[0; 10_000_000]))));
    // Bytes after the gzip stream, and a wrong checksum.
    let mut trailing = gzip(&idx(8, &[4], &data));
    let end = trailing.len();
    trailing.extend(b"rest");
    refused(&folder.file("x.gz", &trailing));
    trailing.truncate(end);
    trailing[end - 6] ^= 1;
    refused(&folder.file("x.gz", &trailing));
}

#[test]
fn damaged_text_is_refused_with_its_place() {
    let folder = Folder::new();
    for (text, parts) in [
        ("1,2\n3\n", &["2 fields", "1 fields", "line 2"][..]),
        ("1,2\n\n3,4,5\n", &["3 fields", "line 3"]),
        ("1,2\r\n\r\n3,4\r\n5\r\n", &["line 4"]),
        ("\n1,2\n5", &["line 3"]),
        ("1\n\n# note\n2,3", &["line 4"]),
        ("1,2\n# note\n3,x\n", &["\"x\"", "line 3", "column 2"]),
        ("a,b\n1,\n", &["\"\"", "line 2", "column 2"]),
        ("a,b\n", &["0 rows"]),
        ("a,b\n1,0x10\n", &["0x10"]),
        ("a;b\n1,5;2\n", &["1,5"]),
        ("1,two\n3,4\n", &["line 1", "header"]),
        ("1,2\n\"3,4\n5,6\n", &["a quote in line 2 that never closes"]),
        ("1 2 # note\n3 4 # note\n", &["line 1"]),
        ("1,2\n3,4 # note\n", &["\"4 # note\" in line 2"]),
        ("\n\n# only a note\n", &["0 rows"]),
        ("a,b\n1,\u{1b}[31m\n", &["line 2"]),
    ] {
        let message = refused(&folder.file("x.csv", text));
        for part in parts {
            assert!(message.contains(part), "{text:?}: {message}");
        }
    }
    refused(&folder.file("x.csv", [b"1,2\n".as_slice(), &[0xff, 0xfe, 0, b',', 0], b"\n"].concat()));
    assert!(refused(&folder.file("x.csv", "9".repeat(10_000_000))).contains("4096"));
    assert!(refused(&folder.file("x.csv", ",".repeat(2_000_000))).contains("1000000"));
    refused(&folder.file("x.csv", format!("a,b\n1,\"{}\"\n", "7,".repeat(4_000))));
}

#[test]
fn things_that_are_no_files_are_refused() {
    let folder = Folder::new();
    assert!(matches!(Table::open(folder.path("none.npy")), Err(Error::File { .. })));
    assert!(refused(&folder.path("")).contains("a folder"));
    assert!(refused(&folder.file("empty.npy", "")).contains("an empty file"));
    let message = refused(&folder.file("x.parquet", "PAR1"));
    assert!(message.contains("parquet") && message.contains("fvecs"), "{message}");
    refused(&folder.file(&format!("x.{}", "long".repeat(50)), "1,2\n"));
}

#[cfg(unix)]
#[test]
fn pipes_are_refused_and_links_followed() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    let pipe = folder.path("pipe.npy");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(refused(&pipe).contains("a pipe"));
    symlink(folder.path("b.npy"), folder.path("a.npy")).unwrap();
    symlink(folder.path("a.npy"), folder.path("b.npy")).unwrap();
    assert!(matches!(Table::open(folder.path("a.npy")), Err(Error::File { .. })));
    let target = folder.file("x.csv", "1,2\n");
    symlink(target, folder.path("link.csv")).unwrap();
    assert_eq!(Table::open(folder.path("link.csv")).unwrap().columns(), 2);
}

/// One valid file of each kind.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let floats = [1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes);
    let plain = idx(0x0b, &[2, 2], &[0, 1, 0, 2, 0, 3, 0, 4]);
    vec![
        ("x.npy", npy("'<f4'", "False", "(2, 2)", 0, floats.as_flattened())),
        ("f.npy", npy("'>u2'", "True", "(4, 2)", 1, floats.as_flattened())),
        ("x.csv", b"a,b\n1,2\n3,\"4\"\n".to_vec()),
        ("x.tsv", b"1\t2\r\n3\t4\r\n".to_vec()),
        ("x.txt", b"# one\n1 2\n3 4\n".to_vec()),
        ("x.fvecs", vecs(&[&floats[..2], &floats[2..]])),
        ("x.bvecs", vecs(&[&[[1], [2]], &[[3], [4]]])),
        ("x.idx", plain.clone()),
        ("x.gz", gzip(&plain)),
    ]
}

/// Whatever a file holds: a table whose every element can be read, or a short error.
fn check_outcome(path: &Path, length: usize, outcome: Result<Table>) {
    match outcome {
        Ok(table) => {
            let read = values(&table);
            assert_eq!(read.dim(), (table.rows(), table.columns()));
            assert!(!read.is_empty() && read.len() <= length.saturating_mul(1100));
        }
        Err(error) => {
            assert!(matches!(error, Error::Format { .. }), "{error:?}");
            check_message(path, &error);
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let folder = Folder::new();
    for (name, whole) in samples() {
        let path = folder.file(name, &whole);
        let rows = Table::open(&path).unwrap().rows();
        let is_text = ["x.csv", "x.tsv", "x.txt"].contains(&name);
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let outcome = Table::open(&path);
            // A text file cut at the end of a line is whole, and a last digit that is gone cannot be seen; so is a
            // file of vectors cut at the end of a row.
            let whole_rows = name.ends_with("vecs") && length > 0 && length % (whole.len() / rows) == 0;
            assert!(
                outcome.is_err() || is_text || whole_rows,
                "{name} cut to {length} of {} bytes",
                whole.len()
            );
            check_outcome(&path, length, outcome);
        }
    }
}

proptest! {
    #![proptest_config(random::cases(256))]

    /// Bytes overwritten, inserted and removed anywhere: no panic, no long message, no table larger than its file.
    #[test]
    fn any_damage_is_survived(
        sample in 0_usize..9,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..6),
        in_memory: bool,
    ) {
        let folder = Folder::new();
        let (name, mut bytes) = samples().swap_remove(sample);
        for (place, byte, kind) in edits {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes[place] ^= 1 << (byte % 8),
                2 => bytes.insert(place, byte),
                _ if bytes.len() > 1 => drop(bytes.remove(place)),
                _ => {}
            }
        }
        let path = folder.file(name, &bytes);
        let outcome = Table::open_with(&path, &ReadOptions::default().in_memory(in_memory));
        check_outcome(&path, bytes.len(), outcome);
        let _no_panic = read_vector_f64(&path);
    }

    /// Bytes of no kind under the name of any kind.
    #[test]
    fn any_bytes_are_survived(sample in 0_usize..9, bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let folder = Folder::new();
        let path = folder.file(samples()[sample].0, &bytes);
        check_outcome(&path, bytes.len(), Table::open(&path));
    }
}
