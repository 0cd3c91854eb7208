//! What is written can be read, and appears whole or not at all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;

use ndarray::{Array2, ArrayView1, array, s};
use proptest::prelude::*;
use tilefold::Error;
use tilefold::Points;
use tilefold::data::{
    AtomicFile, NpyElement, NpyRowWriter, ReadOptions, Table, read_vector_f64, write_csv, write_npy,
};

use crate::readers::{Folder, values};
use crate::support::random;

fn entries(folder: &Folder) -> usize {
    std::fs::read_dir(folder.path("")).unwrap().count()
}

fn check_element<T: NpyElement>(numbers: [T; 6], widened: [f64; 6]) {
    let folder = Folder::new();
    let matrix = Array2::from_shape_vec((3, 2), numbers.to_vec()).unwrap();
    let expected = Array2::from_shape_vec((3, 2), widened.to_vec()).unwrap();
    write_npy(folder.path("x.npy"), matrix.view()).unwrap();
    let table = Table::open(folder.path("x.npy")).unwrap();
    assert_eq!((values(&table), table.is_mapped()), (expected.clone(), true));
    write_npy(folder.path("t.npy"), matrix.t()).unwrap();
    assert_eq!(values(&Table::open(folder.path("t.npy")).unwrap()), expected.t());
    write_npy(folder.path("s.npy"), matrix.slice(s![..;-1, ..;-1])).unwrap();
    assert_eq!(values(&Table::open(folder.path("s.npy")).unwrap()), expected.slice(s![..;-1, ..;-1]));
    write_csv(folder.path("x.csv"), matrix.view()).unwrap();
    // Text of f32 is as short as f32 needs, so it is read as such.
    let options = ReadOptions::default().single_precision(T::DESCR.ends_with("f4"));
    assert_eq!(values(&Table::open_with(folder.path("x.csv"), &options).unwrap()), expected);

    write_npy(folder.path("v.npy"), ArrayView1::from(&numbers)).unwrap();
    assert_eq!(read_vector_f64(folder.path("v.npy")).unwrap(), widened);
    write_csv(folder.path("v.csv"), ArrayView1::from(&numbers)).unwrap();
    let vector = Table::open_with(folder.path("v.csv"), &options).unwrap();
    assert_eq!(values(&vector).into_flat(), ArrayView1::from(&widened));
    assert_eq!(entries(&folder), 6);
}

#[test]
fn every_element_type_makes_the_round_trip() {
    check_element(
        [0.1_f32, -1.5, 3e38, 1e-45, -0.0, 7.0],
        [0.1_f32, -1.5, 3e38, 1e-45, -0.0, 7.0].map(f64::from),
    );
    check_element([0.1_f64, -1e300, 5e-324, 2.0, 3.0, 4.0], [0.1, -1e300, 5e-324, 2.0, 3.0, 4.0]);
    check_element([0_u32, u32::MAX, 2, 3, 4, 5], [0.0, 4294967295.0, 2.0, 3.0, 4.0, 5.0]);
    check_element([i32::MIN, i32::MAX, 2, 3, 4, 5], [-2147483648.0, 2147483647.0, 2.0, 3.0, 4.0, 5.0]);
    check_element([-(1_i64 << 52), 1, 2, 3, 4, 5], [-(2_f64.powi(52)), 1.0, 2.0, 3.0, 4.0, 5.0]);
    check_element([0_u8, 255, 2, 3, 4, 5], [0.0, 255.0, 2.0, 3.0, 4.0, 5.0]);
}

/// The bytes that NumPy's own description of the format asks for.
#[test]
fn npy_bytes_are_as_described() {
    let folder = Folder::new();
    write_npy(folder.path("x.npy"), array![[1_u8, 2], [3, 4]].view()).unwrap();
    let bytes = std::fs::read(folder.path("x.npy")).unwrap();
    let text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }";
    assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
    assert!(bytes[10..].starts_with(text));
    assert_eq!((bytes.len(), bytes[127], &bytes[128..]), (132, b'\n', &[1, 2, 3, 4][..]));
}

#[test]
fn rows_are_streamed() {
    let folder = Folder::new();
    let path = folder.path("x.npy");
    let mut writer = NpyRowWriter::<f64>::create(&path, 5, 2).unwrap();
    writer.write_rows(&[0.0, 1.0, 2.0, 3.0]).unwrap();
    writer.write_rows(&[]).unwrap();
    assert!(matches!(writer.write_rows(&[9.0]), Err(Error::Shape { .. })));
    assert!(matches!(writer.write_rows(&[9.0; 8]), Err(Error::Shape { .. })));
    writer.write_rows(&[4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).unwrap();
    assert!(!path.exists());
    writer.commit().unwrap();
    let table = Table::open(&path).unwrap();
    let Points::F64(rows) = table.points() else { panic!("not f64") };
    assert_eq!(rows, Array2::from_shape_fn((5, 2), |(row, column)| (2 * row + column) as f64));

    let mut short = NpyRowWriter::<f32>::create(folder.path("y.npy"), 2, 2).unwrap();
    short.write_rows(&[0.0, 1.0]).unwrap();
    assert!(matches!(short.commit(), Err(Error::Shape { .. })));
    assert!(matches!(NpyRowWriter::<f32>::create(folder.path("y.npy"), 0, 2), Err(Error::Shape { .. })));
    assert_eq!(entries(&folder), 1);
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let folder = Folder::new();
    let path = folder.file("x.txt", "before");
    let mut dropped = AtomicFile::create(&path).unwrap();
    dropped.write_all(b"half").unwrap();
    dropped.flush().unwrap();
    assert_eq!((entries(&folder), std::fs::read(&path).unwrap()), (2, b"before".to_vec()));
    drop(dropped);
    assert_eq!((entries(&folder), std::fs::read(&path).unwrap()), (1, b"before".to_vec()));
    let mut kept = AtomicFile::create(&path).unwrap();
    kept.write_all(b"after").unwrap();
    kept.commit().unwrap();
    assert_eq!((entries(&folder), std::fs::read(&path).unwrap()), (1, b"after".to_vec()));
    let long_name = folder.path(&"n".repeat(250));
    AtomicFile::create(&long_name).unwrap().commit().unwrap();
    assert!(long_name.exists());
}

#[test]
fn places_that_cannot_be_written_are_found_first() {
    let folder = Folder::new();
    assert!(matches!(AtomicFile::create(folder.path("none/x.npy")), Err(Error::File { .. })));
    assert!(matches!(AtomicFile::create(folder.path("")), Err(Error::Format { .. })));
    assert!(matches!(AtomicFile::create(""), Err(Error::File { .. })));
    let file = folder.file("file", "");
    assert!(matches!(AtomicFile::create(file.join("x.npy")), Err(Error::File { .. })));
    let mut permissions = std::fs::metadata(&file).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&file, permissions).unwrap();
    assert!(matches!(AtomicFile::create(&file), Err(Error::Format { .. })));
    assert_eq!(entries(&folder), 1);
}

#[cfg(unix)]
#[test]
fn links_and_permissions_are_kept_and_devices_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::new();
    assert!(matches!(AtomicFile::create("/dev/null"), Err(Error::Format { .. })));
    let target = folder.file("target.csv", "1\n");
    symlink(&target, folder.path("link.csv")).unwrap();
    write_csv(folder.path("link.csv"), array![2_u8].view()).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"2\n");
    assert!(std::fs::symlink_metadata(folder.path("link.csv")).unwrap().is_symlink());
    // As readable as a file made in the plain way.
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    let plain = folder.file("plain", "");
    write_csv(folder.path("new.csv"), array![2_u8].view()).unwrap();
    assert_eq!(mode(folder.path("new.csv")), mode(plain));
}

#[test]
fn text_takes_one_or_two_dimensions() {
    let folder = Folder::new();
    let cube = ndarray::Array3::<f32>::zeros((2, 2, 2));
    assert!(matches!(write_csv(folder.path("x.csv"), cube.view()), Err(Error::Shape { .. })));
    assert_eq!(entries(&folder), 0);
}

proptest! {
    #![proptest_config(random::cases(256))]

    /// Text gives back the same bits, for every finite float.
    #[test]
    fn text_keeps_every_bit(bits in prop::collection::vec(any::<u64>(), 1..20)) {
        let numbers: Vec<f64> = bits.into_iter().map(f64::from_bits).filter(|number| number.is_finite()).collect();
        prop_assume!(!numbers.is_empty());
        let folder = Folder::new();
        write_csv(folder.path("x.csv"), ArrayView1::from(&numbers)).unwrap();
        let read = read_vector_f64(folder.path("x.csv")).unwrap();
        let to_bits = |numbers: Vec<f64>| numbers.into_iter().map(f64::to_bits).collect::<Vec<_>>();
        prop_assert_eq!(to_bits(read), to_bits(numbers));
    }
}
