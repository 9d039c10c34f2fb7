use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

/// The header and the data of an IDX file.
fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn pixels(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 7 % 251) as u8).collect()
}

/// MNIST of 5 and 3 pictures of 4 x 6; the first two files compressed.
fn write_mnist(dir: &Path) {
    let put = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
    put("train-images-idx3-ubyte.gz", &gzip(&idx(&[5, 4, 6], &pixels(120))));
    put("train-labels-idx1-ubyte.gz", &gzip(&idx(&[5], &[0, 9, 3, 3, 1])));
    put("t10k-images.idx3-ubyte", &idx(&[3, 4, 6], &pixels(72)));
    put("t10k-labels-idx1-ubyte", &idx(&[3], &[2, 4, 8]));
}

/// An element of a MATLAB file.
fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if data.len() <= 4 {
        bytes.extend((kind | (data.len() as u32) << 16).to_le_bytes());
        bytes.extend(data);
        bytes.resize(8, 0);
    } else {
        bytes.extend(kind.to_le_bytes());
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

fn matrix(name: &[u8], class: u8, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let flags = [class, 0, 0, 0, 0, 0, 0, 0];
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    let inside = [element(6, &flags), element(5, &sizes), element(1, name), element(2, data)].concat();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&[&14u32.to_le_bytes()[..], &(inside.len() as u32).to_le_bytes(), &inside].concat()).unwrap();
    let packed = encoder.finish().unwrap();
    [&15u32.to_le_bytes()[..], &(packed.len() as u32).to_le_bytes(), &packed].concat()
}

fn mat(matrices: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
    bytes.resize(124, b' ');
    bytes.extend([0x00, 0x01, b'I', b'M']);
    bytes.extend(matrices.concat());
    bytes
}

fn svhn(count: u32, labels: &[u8]) -> Vec<u8> {
    mat(&[
        matrix(b"X", 9, &[32, 32, 3, count], &pixels(count as usize * 3072)),
        matrix(b"y", 9, &[labels.len() as u32, 1], labels),
    ])
}

fn refusal(dir: &Path) -> String {
    open(dir).unwrap_err().to_string().replace(&dir.display().to_string(), "DIR")
}

#[test]
fn mnist_is_read_plain_and_compressed() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(dir.path()).unwrap(), None);
    write_mnist(dir.path());
    let set = open(dir.path()).unwrap().unwrap();
    assert_eq!((set.name, set.classes), ("mnist", 10));
    let train = Arrays { height: 4, width: 6, channels: 1, pixels: pixels(120), labels: vec![0, 9, 3, 3, 1] };
    assert_eq!(set.train, train);
    assert_eq!((set.test.labels.as_slice(), set.test.pixels), (&[2, 4, 8][..], pixels(72)));
    // through the door of all pictures grey is three equal colours
    let mut scratch = Scratch::default();
    let seen = train.picture(4, &mut scratch).unwrap();
    assert_eq!((seen.width, seen.height), (6, 4));
    assert_eq!(seen.pixels, train.pixels[96..].iter().flat_map(|&v| [v; 3]).collect::<Vec<_>>());
}

#[test]
fn svhn_is_read_with_0_for_10_and_rows_for_columns() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("train_32x32.mat"), svhn(3, &[1, 10, 9])).unwrap();
    // labels as doubles stored in bytes, more than four so that they do not lie in their tag, and the matrices the other way round
    let labels = [5, 5, 10, 2, 1, 3];
    let y = matrix(b"y", 6, &[6, 1], &labels);
    let x = matrix(b"X", 9, &[32, 32, 3, 6], &pixels(6 * 3072));
    fs::write(dir.path().join("test_32x32.mat"), mat(&[y, x])).unwrap();
    let set = open(dir.path()).unwrap().unwrap();
    assert_eq!((set.name, &set.train.labels[..]), ("svhn", &[1, 0, 9][..]));
    assert_eq!(set.test.labels, [5, 5, 0, 2, 1, 3]);
    let (train, data) = (&set.train.pixels, pixels(3 * 3072));
    for (n, y, x, c) in [(0, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (1, 5, 30, 1), (2, 31, 31, 2)] {
        assert_eq!(train[((n * 32 + y) * 32 + x) * 3 + c], data[y + 32 * (x + 32 * (c + 3 * n))]);
    }
    let mut scratch = Scratch::default();
    assert_eq!(set.test.picture(5, &mut scratch).unwrap().pixels, &set.test.pixels[5 * 3072..]);
}

#[test]
fn each_damaged_file_of_mnist_is_one_sentence() {
    let images = "train-images-idx3-ubyte.gz";
    for (file, bytes, expected) in [
        (
            images,
            gzip(b"\x89PNG"),
            "the file begins with [137, 80, 78, 71], expected [0, 0, 8, 3]: it is no such file of MNIST's kind",
        ),
        (
            images,
            gzip(&idx(&[5, 4, 6], &pixels(119))),
            "the file promises 120 bytes of data and has fewer: get the set anew",
        ),
        (
            images,
            gzip(&idx(&[5, 4, 6], &pixels(121))),
            "the file goes on after the 120 bytes that it promises: get the set anew",
        ),
        (images, gzip(&idx(&[5, 0, 6], &[])), "the file's sizes [5, 0, 6] make no sense: get the set anew"),
        (
            images,
            gzip(&idx(&[1 << 20, 1 << 14, 1 << 14], &[])),
            "the file promises 281474976710656 bytes of data and has fewer: get the set anew",
        ),
        (
            images,
            gzip(&idx(&[1, 1 << 20, 1 << 20], &[])),
            "the file's sizes [1, 1048576, 1048576] make no sense: get the set anew",
        ),
        (images, gzip(&idx(&[4, 4, 6], &pixels(96))), "get the set anew"),
        (
            images,
            gzip(&idx(&[5, 4, 6], &pixels(120)))[..40].to_vec(),
            "the file is damaged or cut short (incomplete deflate stream): get the set anew",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            idx(&[5], &[0, 9, 10, 3, 1]),
            "picture 2 has label 10, expected 0 to 9: the file is of another set, or damaged",
        ),
        (
            "t10k-labels-idx1-ubyte",
            idx(&[2], &[1, 1]),
            "2 labels, where DIR/t10k-images.idx3-ubyte has 3 pictures: get the set anew",
        ),
        ("t10k-labels-idx1-ubyte", vec![], "the file promises 4 bytes of data and has fewer: get the set anew"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_mnist(dir.path());
        fs::write(dir.path().join(file), bytes).unwrap();
        let refused = refusal(dir.path());
        assert!(refused.ends_with(expected), "{refused}");
    }
    let dir = tempfile::tempdir().unwrap();
    write_mnist(dir.path());
    fs::write(dir.path().join("t10k-images.idx3-ubyte"), idx(&[3, 6, 4], &pixels(72))).unwrap();
    assert_eq!(
        refusal(dir.path()),
        "DIR: its pictures to train on have (4, 6, 1) rows, columns and channels, those to test on (6, 4, 1): get the set anew"
    );
    fs::remove_file(dir.path().join("t10k-labels-idx1-ubyte")).unwrap();
    assert_eq!(
        refusal(dir.path()),
        "DIR/t10k-labels-idx1-ubyte: this file of the set is missing while others are there (plain or .gz): get the set anew"
    );
}

#[test]
fn each_other_file_of_matlab_is_one_sentence() {
    let x = || matrix(b"X", 9, &[32, 32, 3, 2], &pixels(2 * 3072));
    let y = |labels: &[u8]| matrix(b"y", 9, &[labels.len() as u32, 1], labels);
    let mut big_endian = svhn(2, &[1, 2]);
    big_endian[124..128].copy_from_slice(&[1, 0, b'M', b'I']);
    let mut plain = svhn(2, &[1, 2]);
    plain[128] = 14;
    for (bytes, expected) in [
        (big_endian, "this is no MATLAB 5 file of the usual order of bytes: get SVHN's cropped digits (format 2)"),
        (plain, "the file has an element of type 14, where SVHN has compressed matrices"),
        (vec![], "the file promises 128 bytes of data and has fewer: get the set anew"),
        (mat(&[x()]), "the file promises 8 bytes of data and has fewer: get the set anew"),
        (mat(&[x(), x()]), "the file has the same matrix twice, where SVHN has X and y: get the set anew"),
        (mat(&[x(), y(&[1, 2, 3])]), "3 labels for 2 pictures: get the set anew"),
        (mat(&[x(), y(&[1, 11])]), "picture 1 has label 11, expected 0 to 9: the file is of another set, or damaged"),
        (mat(&[x(), y(&[1, 0])]), "picture 1 has label 255, expected 0 to 9: the file is of another set, or damaged"),
        (
            mat(&[x(), matrix(b"z", 9, &[2, 1], &[1, 2])]),
            r#"the matrix "z" has the sizes [2, 1], where SVHN has X [32, 32, 3, N] and y [N, 1]"#,
        ),
        (
            mat(&[x(), matrix(b"y", 4, &[2, 1], &[1, 2])]),
            "a matrix of the file is not of plain bytes: get SVHN's cropped digits (format 2)",
        ),
        (
            mat(&[x(), matrix(b"y", 9, &[3, 1], &[1, 2])]),
            "a matrix of the file has fewer bytes than its sizes say: get SVHN's cropped digits (format 2)",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("train_32x32.mat"), bytes).unwrap();
        fs::write(dir.path().join("test_32x32.mat"), svhn(2, &[1, 2])).unwrap();
        let refused = refusal(dir.path());
        assert!(refused.ends_with(expected), "{refused}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("train_32x32.mat"), svhn(2, &[1, 2])).unwrap();
    assert_eq!(
        refusal(dir.path()),
        "DIR/test_32x32.mat: this file of SVHN is missing while the other is there: get the set anew"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever is in the files, the answer is a set whose sizes fit together, or a sentence.
    #[test]
    fn damaged_files_never_panic(
        which in 0usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let name = if which == 2 {
            fs::write(dir.path().join("train_32x32.mat"), svhn(2, &[1, 2])).unwrap();
            fs::write(dir.path().join("test_32x32.mat"), svhn(1, &[3])).unwrap();
            "train_32x32.mat"
        } else {
            write_mnist(dir.path());
            ["train-images-idx3-ubyte.gz", "t10k-images.idx3-ubyte"][which]
        };
        let path = dir.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in changes {
            // the headers decide the most: half of the changes go there
            let at = at.index(2 * bytes.len());
            let at = if at < bytes.len() { at } else if which == 2 { 120 + at % 60 } else { at % 24 };
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&path, bytes).unwrap();
        match open(dir.path()) {
            Ok(set) => {
                let train = set.unwrap().train;
                let len = train.labels.len() * (train.height * train.width * train.channels) as usize;
                prop_assert_eq!(train.pixels.len(), len);
            }
            Err(e) => prop_assert!(!e.to_string().contains('\n'), "{}", e),
        }
    }
}
