//! Files that are as they should be: every kind, element type and layout gives its rows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use half::f16;
use ndarray::{Array2, array};
use tempfile::TempDir;
use tilefold::data::{ReadOptions, Table, read_vector_f64};
#[cfg(feature = "test-hooks")]
use tilefold::{Cancel, data::read_vector_f64_with};
use tilefold::{ElementType, Error, Points};

/// A folder for one test, and its files.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// An `.npy` file; `blanks` moves the data away from its alignment.
pub fn npy(descr: &str, fortran_order: &str, shape: &str, blanks: usize, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}");
    let text = format!("{text}{}\n", " ".repeat((128 - 10 - 1 - text.len()) + blanks));
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(data);
    bytes
}

/// An IDX file.
pub fn idx(code: u8, lengths: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, u8::try_from(lengths.len()).unwrap()];
    lengths.iter().for_each(|length| bytes.extend(length.to_be_bytes()));
    bytes.extend(data);
    bytes
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Records of the `.fvecs` kind.
pub fn vecs<const SIZE: usize>(rows: &[&[[u8; SIZE]]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows {
        bytes.extend(i32::try_from(row.len()).unwrap().to_le_bytes());
        bytes.extend(row.concat());
    }
    bytes
}

/// The values of a table as `f64`, read element by element.
pub fn values(table: &Table) -> Array2<f64> {
    match table.points() {
        Points::F32(view) => view.mapv(f64::from),
        Points::F64(view) => view.to_owned(),
        Points::F16(view) => view.mapv(f64::from),
        Points::U8(view) => view.mapv(f64::from),
        Points::I8(view) => view.mapv(f64::from),
        Points::U16(view) => view.mapv(f64::from),
        Points::I16(view) => view.mapv(f64::from),
        Points::U32(view) => view.mapv(f64::from),
        Points::I32(view) => view.mapv(f64::from),
        Points::U64(view) => view.mapv(|value| value as f64),
        Points::I64(view) => view.mapv(|value| value as f64),
        other => panic!("no reader gives {:?}", other.element_type()),
    }
}

fn open(path: &Path) -> Table {
    Table::open(path).unwrap()
}

/// One dtype in both byte orders, both axis orders, aligned and not, mapped and in memory.
fn check_npy<const SIZE: usize>(
    kind: &str,
    element: ElementType,
    numbers: [f64; 6],
    encode: impl Fn(f64) -> [u8; SIZE],
) {
    let folder = Folder::new();
    let expected = Array2::from_shape_vec((2, 3), numbers.to_vec()).unwrap();
    for (order, big_endian) in [("<", false), (">", true)] {
        for (fortran_order, logical) in
            [("False", expected.clone()), ("True", expected.t().as_standard_layout().into_owned())]
        {
            let encoded = logical.iter().flat_map(|&number| {
                let mut bytes = encode(number);
                if big_endian {
                    bytes.reverse();
                }
                bytes
            });
            let data: Vec<u8> = encoded.collect();
            for blanks in [0, 1] {
                let descr = format!("'{order}{kind}'");
                let path = folder.file("x.npy", npy(&descr, fortran_order, "(2, 3)", blanks, &data));
                for in_memory in [false, true] {
                    let case =
                        format!("{descr} fortran {fortran_order} blanks {blanks} in_memory {in_memory}");
                    let table =
                        Table::open_with(&path, &ReadOptions::default().in_memory(in_memory)).unwrap();
                    assert_eq!(
                        (table.rows(), table.columns(), table.element_type()),
                        (2, 3, element),
                        "{case}"
                    );
                    assert_eq!(values(&table), expected, "{case}");
                    let copied = SIZE > 1 && (blanks == 1 || big_endian == cfg!(target_endian = "little"));
                    assert_eq!(table.is_mapped(), !in_memory && !copied, "{case}");
                }
            }
        }
    }
}

#[test]
fn npy_of_every_type_and_layout_is_read() {
    let small = [0.0, 1.0, 2.0, 3.0, 100.0, 7.0];
    let signed = [-128.0, 127.0, 0.0, -1.0, 5.0, 6.0];
    let float = [-1.5, 0.25, 65504.0, -0.0, 3.0, 1024.0];
    check_npy("f2", ElementType::F16, float, |x| f16::from_f64(x).to_le_bytes());
    check_npy("f4", ElementType::F32, float, |x| (x as f32).to_le_bytes());
    check_npy("f8", ElementType::F64, [1e300, -1e-300, 0.1, 2.0, 3.0, 4.0], f64::to_le_bytes);
    check_npy("u1", ElementType::U8, small, |x| (x as u8).to_le_bytes());
    check_npy("b1", ElementType::U8, [0.0, 1.0, 1.0, 0.0, 0.0, 1.0], |x| (x as u8).to_le_bytes());
    check_npy("i1", ElementType::I8, signed, |x| (x as i8).to_le_bytes());
    check_npy("u2", ElementType::U16, [65535.0, 1.0, 2.0, 256.0, 0.0, 9.0], |x| (x as u16).to_le_bytes());
    check_npy("i2", ElementType::I16, [-32768.0, 1.0, 2.0, 256.0, 0.0, 9.0], |x| (x as i16).to_le_bytes());
    check_npy("u4", ElementType::U32, [4294967295.0, 1.0, 2.0, 256.0, 0.0, 9.0], |x| {
        (x as u32).to_le_bytes()
    });
    check_npy("i4", ElementType::I32, [-2147483648.0, 1.0, 2.0, 256.0, 0.0, 9.0], |x| {
        (x as i32).to_le_bytes()
    });
    check_npy("u8", ElementType::U64, [(1_u64 << 53) as f64, 1.0, 2.0, 3.0, 4.0, 5.0], |x| {
        (x as u64).to_le_bytes()
    });
    check_npy("i8", ElementType::I64, [-(2_f64.powi(62)), 1.0, 2.0, 3.0, 4.0, 5.0], |x| {
        (x as i64).to_le_bytes()
    });
}

/// NumPy takes every byte but 0 for true.
#[test]
fn bools_of_other_bytes_are_true() {
    let folder = Folder::new();
    for (order, bytes) in [("False", [0_u8, 1, 2, 255, 0, 128]), ("True", [0, 255, 1, 0, 2, 128])] {
        let path = folder.file("x.npy", npy("'|b1'", order, "(2, 3)", 1, &bytes));
        for in_memory in [false, true] {
            let table = Table::open_with(&path, &ReadOptions::default().in_memory(in_memory)).unwrap();
            assert_eq!(values(&table), array![[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]], "{order}");
            assert_eq!((table.element_type(), table.is_mapped()), (ElementType::U8, false));
        }
        let table = Table::open_with(&path, &ReadOptions::default().columns(1..2)).unwrap();
        assert_eq!(values(&table), array![[1.0], [0.0]], "{order}");
    }
}

#[test]
fn npy_versions_with_long_headers_are_read() {
    let folder = Folder::new();
    for version in [2, 3] {
        let mut bytes = npy("'|u1'", "False", "(1, 2)", 0, &[8, 9]);
        bytes[6] = version;
        bytes.splice(8..10, 118_u32.to_le_bytes());
        assert_eq!(values(&open(&folder.file("x.npy", bytes))), array![[8.0, 9.0]]);
    }
}

#[test]
fn columns_are_selected_in_every_kind() {
    let folder = Folder::new();
    let fvecs =
        vecs(&[&[0.0_f32, 1.0, 2.0].map(f32::to_le_bytes), &[3.0_f32, 4.0, 5.0].map(f32::to_le_bytes)]);
    let files = [
        folder.file("c.npy", npy("'|u1'", "False", "(2, 3)", 0, &[0, 1, 2, 3, 4, 5])),
        folder.file("f.npy", npy("'|u1'", "True", "(2, 3)", 0, &[0, 3, 1, 4, 2, 5])),
        folder.file("x.csv", "0,1,2\n3,4,5\n"),
        folder.file("x.fvecs", fvecs),
        folder.file("x.idx", idx(0x0b, &[2, 3], &[0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5])),
    ];
    for path in files {
        let select = |columns| Table::open_with(&path, &ReadOptions::default().columns(columns));
        assert_eq!(values(&select(1..3).unwrap()), array![[1.0, 2.0], [4.0, 5.0]], "{path:?}");
        assert_eq!(values(&select(2..3).unwrap()), array![[2.0], [5.0]], "{path:?}");
        assert!(matches!(select(1..4), Err(Error::Parameter { name: "columns", .. })), "{path:?}");
        assert!(matches!(select(usize::MAX - 1..usize::MAX), Err(Error::Parameter { .. })), "{path:?}");
    }
}

#[test]
fn vecs_of_every_kind_are_read() {
    let folder = Folder::new();
    let floats = [[0.5_f32, -1.0, 2.0], [3.0, 4.0, 5.5]].map(|row| row.map(f32::to_le_bytes));
    let floats = open(&folder.file("x.fvecs", vecs(&[&floats[0], &floats[1]])));
    assert_eq!(values(&floats), array![[0.5, -1.0, 2.0], [3.0, 4.0, 5.5]]);
    assert_eq!((floats.element_type(), floats.is_mapped()), (ElementType::F32, true));

    let bytes = open(&folder.file("x.bvecs", vecs(&[&[[0], [255], [7]], &[[1], [2], [3]]])));
    assert_eq!(values(&bytes), array![[0.0, 255.0, 7.0], [1.0, 2.0, 3.0]]);
    assert_eq!(bytes.element_type(), ElementType::U8);

    let integers = open(&folder.file("x.IVECS", vecs(&[&[(-5_i32).to_le_bytes()], &[6_i32.to_le_bytes()]])));
    assert_eq!(values(&integers), array![[-5.0], [6.0]]);
    assert_eq!(integers.element_type(), ElementType::I32);
}

#[test]
fn idx_of_every_type_is_read_plain_and_gzipped() {
    let folder = Folder::new();
    let big_f32: Vec<u8> = [1.5_f32, -2.0, 3.0, 4.0].iter().flat_map(|value| value.to_be_bytes()).collect();
    let big_f64: Vec<u8> = [1.5_f64, -2.0, 3.0, 4.0].iter().flat_map(|value| value.to_be_bytes()).collect();
    let big_i32: Vec<u8> = [1_i32, -2, 3, 4].iter().flat_map(|value| value.to_be_bytes()).collect();
    let cases = [
        (0x08, ElementType::U8, vec![1, 254, 3, 4], array![[1.0, 254.0], [3.0, 4.0]]),
        (0x09, ElementType::I8, vec![1, 254, 3, 4], array![[1.0, -2.0], [3.0, 4.0]]),
        (0x0b, ElementType::I16, vec![0, 1, 255, 254, 0, 3, 0, 4], array![[1.0, -2.0], [3.0, 4.0]]),
        (0x0c, ElementType::I32, big_i32, array![[1.0, -2.0], [3.0, 4.0]]),
        (0x0d, ElementType::F32, big_f32, array![[1.5, -2.0], [3.0, 4.0]]),
        (0x0e, ElementType::F64, big_f64, array![[1.5, -2.0], [3.0, 4.0]]),
    ];
    for (code, element, data, expected) in cases {
        for lengths in [&[2, 2][..], &[2, 1, 2], &[2, 2, 1, 1]] {
            let plain = idx(code, lengths, &data);
            for name in ["x.idx", "x-idx3-ubyte", "x.idx3-ubyte", "x.unknown"] {
                let table = open(&folder.file(name, &plain));
                assert_eq!((table.element_type(), values(&table)), (element, expected.clone()));
            }
            let table = open(&folder.file("x.gz", gzip(&plain)));
            assert_eq!((table.element_type(), values(&table)), (element, expected.clone()));
            let (first, second) = plain.split_at(5);
            let members = [gzip(first), gzip(second)].concat();
            assert_eq!(values(&open(&folder.file("x.gz", members))), expected);
        }
    }
}

#[test]
fn text_is_read_in_its_dialects() {
    let folder = Folder::new();
    let expected = array![[1.0, -2.5], [3e10, 0.1]];
    for (name, text) in [
        ("x.csv", "1,-2.5\n3e10,0.1\n"),
        ("x.csv", "1,-2.5\r\n3e10,0.1"),
        ("x.csv", "1,-2.5\r\n\r\n\"3e10\",\"0.1\"\r\n"),
        ("x.csv", "\u{feff}1 , -2.5\n 3e10,+.1\n\n"),
        ("x.csv", "# note, with, commas\n\n\"a, b\",c\n1,-2.5\n# more\n3e10,0.1\n"),
        ("x.csv", "a;b\n1;-2.5\n3e10;0.1\n"),
        ("x.csv", "\"1\",\"-2.5\"\n\"3e10\",\"0.1\"\n"),
        ("x.csv", "first name,b\n1,-2.5\n3e10,0.1\n"),
        ("x.tsv", "1\t-2.5\n3e10\t0.1\n"),
        ("x.txt", "1.000e+00 -2.5\n  3e10   0.1 \n"),
        ("x.txt", "1\t-2.5\n3e10\t0.1\n"),
    ] {
        let table = open(&folder.file(name, text));
        assert_eq!((table.element_type(), values(&table)), (ElementType::F64, expected.clone()), "{text:?}");
    }
    let single =
        Table::open_with(folder.path("x.csv"), &ReadOptions::default().single_precision(true)).unwrap();
    assert_eq!(single.points().element_type(), ElementType::F32);
    assert_eq!(values(&single)[[1, 1]], f64::from(0.1_f32));
}

#[test]
fn text_options_are_kept() {
    let folder = Folder::new();
    let path = folder.file("x.csv", "0,1,one\n2,3,two\n");
    let read = |options: ReadOptions| Table::open_with(&path, &options);
    assert_eq!(values(&read(ReadOptions::default().columns(0..2)).unwrap()), array![[0.0, 1.0], [2.0, 3.0]]);
    let skipped = read(ReadOptions::default().columns(0..2).header(true)).unwrap();
    assert_eq!(values(&skipped), array![[2.0, 3.0]]);
    assert!(read(ReadOptions::default().header(false)).is_err());
    assert!(read(ReadOptions::default()).unwrap_err().to_string().contains("whether it is a header"));
    for delimiter in [b'1', b'\n', b'"', b'.', 0xff] {
        let error = read(ReadOptions::default().delimiter(delimiter)).unwrap_err();
        assert!(matches!(error, Error::Parameter { name: "delimiter", .. }), "{error}");
    }
    let piped = folder.file("y.csv", "1|2\n");
    assert_eq!(
        values(&Table::open_with(piped, &ReadOptions::default().delimiter(b'|')).unwrap()),
        array![[1.0, 2.0]]
    );
}

#[test]
fn not_a_number_is_read_as_it_is() {
    let folder = Folder::new();
    let table = open(&folder.file("x.csv", "nan,inf\n-inf,1e999\n"));
    let read = values(&table);
    assert!(read[[0, 0]].is_nan());
    assert_eq!((read[[0, 1]], read[[1, 0]], read[[1, 1]]), (f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY));
}

#[test]
fn vectors_are_read_from_every_kind() {
    let folder = Folder::new();
    let data: Vec<u8> = [0.5_f32, 2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    for (name, content) in [
        ("x.npy", npy("'<f4'", "False", "(3,)", 0, &data)),
        ("x.npy", npy("'<f4'", "True", "(3, 1)", 3, &data)),
        ("x.csv", b"weight\n0.5\n2\n3\n".to_vec()),
        ("x.txt", b"0.5\n2\n3".to_vec()),
    ] {
        assert_eq!(read_vector_f64(folder.file(name, content)).unwrap(), [0.5, 2.0, 3.0], "{name}");
    }
    assert_eq!(read_vector_f64(folder.file("l.idx", idx(8, &[3], &[7, 0, 9]))).unwrap(), [7.0, 0.0, 9.0]);

    let vector = folder.file("x.npy", npy("'<f4'", "False", "(3,)", 0, &data));
    let message = Table::open(vector).unwrap_err().to_string();
    assert!(message.contains("shape (3,)") && message.contains("(3, 1)"), "{message}");
    let matrix = folder.file("x.csv", "1,2\n3,4\n");
    let message = read_vector_f64(matrix).unwrap_err().to_string();
    assert!(message.contains("2 columns"), "{message}");
}

/// Optional real data.
fn data(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("TILEFOLD_DATA").expect("TILEFOLD_DATA names the folder of the data"))
        .join(name)
}

#[test]
#[cfg_attr(without_data, ignore = "TILEFOLD_DATA is not set")]
fn mnist_is_read() {
    let images = open(&data("mnist-t10k-images-idx3-ubyte.gz"));
    assert_eq!((images.rows(), images.columns(), images.element_type()), (10_000, 784, ElementType::U8));
    let Points::U8(pixels) = images.points() else { panic!("not bytes") };
    assert_eq!(pixels.iter().max(), Some(&255));
    let labels = read_vector_f64(data("mnist-t10k-labels-idx1-ubyte.gz")).unwrap();
    assert_eq!((labels.len(), &labels[..5]), (10_000, &[7.0, 2.0, 1.0, 0.0, 4.0][..]));
}

#[test]
#[cfg_attr(without_data, ignore = "TILEFOLD_DATA is not set")]
fn sift_is_read() {
    let path = data("sift-5k.tsv");
    let vectors = Table::open_with(&path, &ReadOptions::default().columns(0..128)).unwrap();
    assert_eq!((vectors.rows(), vectors.columns()), (5_000, 128));
    let all = values(&vectors);
    assert_eq!((all.iter().copied().fold(0.0, f64::max), all[[0, 8]]), (191.0, 13.0));
    assert_eq!(open(&path).columns(), 129);
}

/// What a comment holds never changes what is read; its lines keep their numbers.
#[test]
fn comments_are_lines_whatever_they_hold() {
    let folder = Folder::new();
    let rows = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
    let long = format!("# {}\n1,2\n3,4\n5,6\n", "\",a".repeat(10_000));
    for (name, text) in [
        ("x.txt", "1 2\n3 4\n# \"x\n5 6\n"),
        ("x.csv", "# name,\"a\n1,2\n# other,\"b\"\n3,4\n5,6\n"),
        ("x.csv", "#\"a,b\n1,2\n#\"\"\"\n3,4\n5,6\n# \"end"),
        ("x.csv", "# \"note\nx,y\n1,2\n3,4\n5,6\n"),
        ("x.csv", "\u{feff}# \"note, with; marks\nx,y\r\n1,2\r\n  #\"\r\n3,4\r\n5,6"),
        ("x.csv", "\"x\n# \"\"y\",z\n1,2\n3,4\n# '\"\n5,6\n"),
        ("x.csv", "\u{feff}\"x\n#1\",y\n1,2\n3,4\n5,6\n"),
        ("x.csv", "\"#x\",#y\n1,2\n3,4\n5,6\n"),
        ("x.tsv", "1\t2\n#\t\"\n3\t4\n5\t6\n"),
        ("x.csv", &long),
    ] {
        let path = folder.file(name, text);
        assert_eq!(values(&Table::open(&path).unwrap()), rows, "{text:?}");
    }
    let path = folder.file("weights.txt", "# \"weights\n1\n# it's \"\n2\n");
    assert_eq!(read_vector_f64(path).unwrap(), [1.0, 2.0]);
    let path = folder.file("x.csv", "# \"a\n1,2\n# \"b\n3,x\n");
    assert!(Table::open(path).unwrap_err().to_string().contains("\"x\" in line 4"));
}

/// Rows of a few megabytes, in each form that is copied or looked through before it is handed out.
#[cfg(feature = "test-hooks")]
#[test]
fn readers_look_at_the_token_once_per_megabyte() {
    const BYTES: usize = 5 << 20;
    let folder = Folder::new();
    let swapped = folder.file("s.npy", npy("'>f8'", "False", &format!("({},)", BYTES / 8), 0, &[0; BYTES]));
    let truths = folder.file("t.npy", npy("'|b1'", "False", &format!("({BYTES}, 1)"), 0, &[2; BYTES]));
    let plain = folder.file("p.npy", npy("'|u1'", "False", &format!("({BYTES}, 1)"), 0, &[2; BYTES]));
    let images = folder.file("i.idx", idx(12, &[(BYTES / 4) as u32, 1], &[0; BYTES]));
    let rows: Vec<u8> = [1_u32.to_le_bytes(), [0; 4]].concat().repeat(BYTES / 8);
    let rows = folder.file("r.ivecs", rows);
    let table = |path: &PathBuf, options: ReadOptions| Table::open_with(path, &options).map(drop);
    type Read<'a> = &'a dyn Fn(Cancel) -> tilefold::Result<()>;
    let each: [(&str, Read<'_>); 6] = [
        ("numbers in another byte order", &|cancel| read_vector_f64_with(&swapped, &cancel).map(drop)),
        ("truths", &|cancel| table(&truths, ReadOptions::default().cancel(cancel))),
        ("one number per row", &|cancel| read_vector_f64_with(&plain, &cancel).map(drop)),
        ("a file in memory", &|cancel| table(&plain, ReadOptions::default().in_memory(true).cancel(cancel))),
        ("big-endian images", &|cancel| table(&images, ReadOptions::default().cancel(cancel))),
        ("dimensions", &|cancel| table(&rows, ReadOptions::default().cancel(cancel))),
    ];
    for (what, read) in each {
        let cancel = Cancel::new();
        read(cancel.clone()).unwrap();
        assert!(cancel.polls() >= 5, "{what}: {} polls", cancel.polls());
        cancel.cancel();
        assert!(matches!(read(cancel), Err(Error::Cancelled)), "{what}");
    }
}
