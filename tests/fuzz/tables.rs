//! Readers of tables: text, `.npy`, IDX and vectors.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use ndarray::{Array2, array};
use tilefold::Points;
use tilefold::data::{Table, read_vector_f64, write_csv, write_npy};

use crate::harness::{Parser, as_it_is};

/// Bits of a number; all NaN are one.
fn bits_of(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// Bits of all elements.
fn bits(table: &Table) -> Array2<u64> {
    macro_rules! bits {
        ($($variant:ident),*) => {
            match table.points() {
                Points::F64(view) => view.mapv(bits_of),
                Points::F32(view) => view.mapv(|value| bits_of(f64::from(value))),
                Points::F16(view) => view.mapv(|value| bits_of(f64::from(value))),
                $(Points::$variant(view) => view.mapv(|value| value as u64),)*
                _ => panic!("a type that no file holds"),
            }
        };
    }
    bits!(U8, I8, U16, I16, U32, I32, U64, I64)
}

/// The table written as `.npy` and read again is the same.
fn npy_gives_back(path: &Path, table: &Table) {
    let copy = path.with_file_name("copy.npy");
    macro_rules! write {
        ($($variant:ident),*) => {
            match table.points() {
                $(Points::$variant(view) => write_npy(&copy, view).unwrap(),)*
                // Halves and some whole numbers have no writer.
                _ => return,
            }
        };
    }
    write!(F32, F64, U32, I64);
    assert_eq!(bits(&Table::open(&copy).unwrap()), bits(table));
}

fn check(path: &Path, table: Table) {
    assert_eq!(bits(&table).dim(), (table.rows(), table.columns()));
    npy_gives_back(path, &table);
}

fn npy(descr: &str, fortran_order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(data);
    bytes
}

fn idx(code: u8, lengths: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, u8::try_from(lengths.len()).unwrap()];
    lengths.iter().for_each(|length| bytes.extend(length.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn texts() -> Vec<(&'static str, Vec<u8>)> {
    [
        ("a.csv", "a,b\n1,2\n3,\"4\"\n"),
        ("b.csv", "# \"note\n1;2\r\n# it's\r\n3.5;-4e-3\r\n"),
        ("c.tsv", "1\t2\n\n3\t4"),
        ("d.txt", "  1  2\n 3   4\n# \"\n5 6\n"),
        ("e.csv", "\u{feff}\"name\n#1\",y\n1,nan\n-inf,1e400\n"),
    ]
    .map(|(name, text)| (name, text.as_bytes().to_vec()))
    .into()
}

#[test]
fn text() {
    let parser = Parser {
        name: "text",
        corpus: texts(),
        words: &["# \"", "\"\"", "\"a\nb\"", "\n#", "1e5", "\u{e9}"],
        // A number of one digit takes two bytes of text and eight of memory, twice while the rows grow.
        bytes_per_byte: 16,
        more_bytes: 1 << 20,
        mend: as_it_is,
    };
    parser.run(
        |path| Table::open(path),
        |path, table| {
            if let Points::F64(view) = table.points() {
                let copy = path.with_file_name("copy.csv");
                write_csv(&copy, view).unwrap();
                assert_eq!(bits(&Table::open(&copy).unwrap()), bits(&table));
            }
            check(path, table);
        },
    );
}

#[test]
fn vectors_of_numbers() {
    let corpus = vec![
        ("w.txt", b"# \"weights\n1\n2.5\n3\n".to_vec()),
        ("w.csv", b"weight\n1\n2\n".to_vec()),
        ("w.npy", npy("<f8", "False", "(2,)", &[0; 16])),
        ("w.idx", idx(8, &[3], &[1, 2, 3])),
    ];
    let words = &["# \"", "\n", "\"1\""];
    let parser = Parser {
        name: "vectors_of_numbers",
        corpus,
        words,
        bytes_per_byte: 24,
        more_bytes: 1 << 20,
        mend: as_it_is,
    };
    parser.run(|path| read_vector_f64(path), |_, numbers| assert!(!numbers.is_empty()));
}

#[test]
fn npy_files() {
    let data: Vec<u8> = (0..48).collect();
    let corpus = vec![
        ("a.npy", npy("<f4", "False", "(3, 4)", &data)),
        ("b.npy", npy(">u2", "True", "(6, 4)", &data)),
        ("c.npy", npy("|b1", "False", "(2, 2)", &[0, 1, 1, 0])),
        ("d.npy", npy("<i8", "False", "(6, 1)", &data)),
        ("e.npy", npy("<f2", "False", "(4, 6)", &data)),
    ];
    let words =
        &["'descr'", "'fortran_order'", "'shape'", "True", "(3,4)", "L", "<f8", "|O", "[('a','<f4')]"];
    let parser =
        Parser { name: "npy", corpus, words, bytes_per_byte: 16, more_bytes: 1 << 20, mend: as_it_is };
    parser.run(|path| Table::open(path), check);
}

#[test]
fn vecs_files() {
    let rows = |width: i32, data: &[u8]| [&width.to_le_bytes(), data].concat().repeat(3);
    let corpus = vec![
        ("a.fvecs", rows(2, &[0, 0, 128, 63, 0, 0, 0, 64])),
        ("b.bvecs", rows(3, &[1, 2, 3])),
        ("c.ivecs", rows(1, &[1, 2, 3, 4])),
    ];
    let parser =
        Parser { name: "vecs", corpus, words: &[], bytes_per_byte: 16, more_bytes: 1 << 20, mend: as_it_is };
    parser.run(|path| Table::open(path), check);
}

#[test]
fn idx_files() {
    let plain = idx(8, &[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
    let corpus = vec![
        ("c.gz", packed(&plain)),
        ("a.idx", plain),
        ("b-ubyte", idx(0x0d, &[1, 2], &[0, 0, 128, 63, 63, 128, 0, 0])),
        ("d.gz", packed(&idx(0x0b, &[50, 100], &[1; 10_000]))),
    ];
    // Deflate packs at most 1032 to 1, and 1100 to 1 is what is believed; elements are turned in a copy.
    let parser = Parser {
        name: "idx",
        corpus,
        words: &[],
        bytes_per_byte: 2_200,
        more_bytes: 1 << 20,
        mend: as_it_is,
    };
    parser.run(|path| Table::open(path), check);
}

/// The rows that writers write are the rows that readers read.
#[test]
fn writers_and_readers_agree() {
    let folder = tempfile::tempdir().unwrap();
    let rows = array![[1.5, -0.0, f64::MIN_POSITIVE], [f64::MAX, 1e-310, 0.1]];
    for name in ["x.csv", "x.npy"] {
        let path = folder.path().join(name);
        if name.ends_with("csv") { write_csv(&path, rows.view()) } else { write_npy(&path, rows.view()) }
            .unwrap();
        assert_eq!(bits(&Table::open(&path).unwrap()), rows.mapv(f64::to_bits));
    }
}
