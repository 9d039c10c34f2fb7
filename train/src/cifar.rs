//! CIFAR-10 and CIFAR-100 in their binary format: files of records, each one or two label bytes and then 1,024 bytes of
//! red, of green and of blue.
//!
//! The sizes of all files are checked before the first one is read, so a broken download costs no waiting.

use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rewind::data::{CHANNELS, Dataset, IMAGE, IMAGE_LEN, Normalise, Split};
use rewind::error::{Error, Result};
use rewind_pictures::regular;

/// How one of the two data sets lies on disk.
#[derive(Debug)]
pub struct Format {
    name: &'static str,
    /// The folder that its archive unpacks to.
    pub folder: &'static str,
    classes: usize,
    normalise: Normalise,
    train: &'static [&'static str],
    test: &'static str,
    train_records: usize,
    test_records: usize,
    /// Label bytes at the start of a record; the last of them is the class.
    labels: usize,
}

/// CIFAR-10: five files to train on, one to test.
pub const CIFAR_10: Format = Format {
    name: "cifar-10",
    folder: "cifar-10-batches-bin",
    classes: 10,
    normalise: Normalise::CIFAR_10,
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: "test_batch.bin",
    train_records: 10_000,
    test_records: 10_000,
    labels: 1,
};

/// CIFAR-100: one file each. Its records start with the coarse label (20 super-classes, not used) and the fine one.
pub const CIFAR_100: Format = Format {
    name: "cifar-100",
    folder: "cifar-100-binary",
    classes: 100,
    normalise: Normalise::CIFAR_100,
    train: &["train.bin"],
    test: "test.bin",
    train_records: 50_000,
    test_records: 10_000,
    labels: 2,
};

/// The classes of CIFAR-10, in the order of the labels.
pub const NAMES_10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The fine classes of CIFAR-100, in the order of the labels, which is that of the alphabet.
pub const NAMES_100: &str = "\
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar cattle chair \
    chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard \
    lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear \
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail \
    snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale \
    willow_tree wolf woman worm";

impl Format {
    /// Every file with its number of records, in the order of reading; the last one is the test split.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.train.iter().map(|&name| (name, self.train_records)).chain([(self.test, self.test_records)])
    }

    /// Bytes of a record: its labels and its pixels.
    pub const fn record(&self) -> usize {
        self.labels + IMAGE_LEN
    }

    fn any_file_in(&self, dir: &Path) -> bool {
        self.files().any(|(name, _)| dir.join(name).exists())
    }
}

/// Reads CIFAR-10 or CIFAR-100, whichever `dir` holds. `dir` is the folder of the `.bin` files, or the one around it; where
/// that holds both data sets, CIFAR-10 is read.
///
/// # Errors
/// [`Error::Data`] if the folder is missing or holds no CIFAR file, a file of the set is missing or has another size than
/// the format's, or a label is out of range; [`Error::Io`] if the system fails to read.
pub fn open(dir: &Path) -> Result<Dataset> {
    let (format, dir) = locate(dir)?;
    for (name, records) in format.files() {
        check_size(&dir.join(name), records, format.record())?;
    }
    let mut train = Split::with_capacity(IMAGE, format.train.len() * format.train_records);
    let mut test = Split::with_capacity(IMAGE, format.test_records);
    for name in format.train {
        read(&dir.join(name), format.train_records, format, &mut train)?;
    }
    read(&dir.join(format.test), format.test_records, format, &mut test)?;
    let Format { name, classes, normalise, .. } = *format;
    Ok(Dataset { name: name.into(), classes, normalise, train, test, fingerprint: None, part_of: None })
}

/// Whether `dir`, or a folder of the usual name in it, holds any file of either data set, whole or not.
pub fn is_in(dir: &Path) -> bool {
    [&CIFAR_10, &CIFAR_100].iter().any(|format| format.any_file_in(dir) || format.any_file_in(&dir.join(format.folder)))
}

/// The format and the folder of its files.
fn locate(dir: &Path) -> Result<(&'static Format, PathBuf)> {
    let refuse = |problem: &str| Err(Error::Data { path: dir.into(), problem: problem.into() });
    match dir.metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return refuse(
                "there is no such folder; name one that holds a folder of pictures for each class, or CIFAR's .bin files, which --download gets",
            );
        }
        Err(e) => return Err(Error::io("look into", dir)(e)),
        Ok(found) if !found.is_dir() => return refuse("this is a file; name the folder that holds CIFAR's .bin files"),
        Ok(_) => {}
    }
    // a folder that lets no name be looked up seems to hold none
    dir.read_dir().map_err(Error::io("read", dir))?;
    for format in [&CIFAR_10, &CIFAR_100] {
        for place in [dir.to_path_buf(), dir.join(format.folder)] {
            if format.any_file_in(&place) {
                return Ok((format, place));
            }
        }
    }
    // The pickled version has the same names without an ending: the likeliest mix-up.
    let pickled = [".", "cifar-10-batches-py", "cifar-100-python"]
        .iter()
        .any(|sub| ["data_batch_1", "train"].iter().any(|name| dir.join(sub).join(name).is_file()));
    if pickled {
        return refuse("this is CIFAR's Python version; the binary version (.bin files) is needed: use --download");
    }
    let empty = dir.read_dir().map_err(Error::io("read", dir))?.next().is_none();
    if empty {
        return refuse("the folder is empty; it should hold CIFAR's .bin files: use --download to get them");
    }
    refuse(
        "no CIFAR file in this folder: expected data_batch_1.bin to data_batch_5.bin and test_batch.bin (CIFAR-10), \
         or train.bin and test.bin (CIFAR-100), which --download gets, or a folder of pictures for each class",
    )
}

fn check_size(path: &Path, records: usize, record: usize) -> Result<()> {
    let refuse = |problem| Err(Error::Data { path: path.into(), problem });
    let found = match path.metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(metadata) => {
            let other = regular::other_than_file(metadata.file_type()).unwrap_or_default();
            return refuse(format!("this {other}, where a file of the data set is expected; get the data set anew"));
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return refuse("this file of the data set is missing while others are there; get the data set anew".into());
        }
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    let expected = (records * record) as u64;
    if found == expected {
        return Ok(());
    }
    let kind = if found < expected { "the file is truncated" } else { "the file is larger than the format's" };
    let whole = if found.is_multiple_of(record as u64) {
        String::new()
    } else {
        format!(", and not a multiple of the {record}-byte record")
    };
    refuse(format!("{kind}: found {found} bytes, expected {expected}{whole}; get the data set anew"))
}

/// Appends the records of one file, turning colour planes into pixels. One record at a time: no second copy of the file.
fn read(path: &Path, records: usize, format: &Format, into: &mut Split) -> Result<()> {
    const PLANE: usize = IMAGE * IMAGE;
    let mut file = BufReader::with_capacity(1 << 18, regular::open(path).map_err(Error::io("open", path))?);
    let mut record = vec![0; format.record()];
    for index in 0..records {
        file.read_exact(&mut record).map_err(Error::io("read", path))?;
        let (labels, planes) = record.split_at(format.labels);
        let label = labels[format.labels - 1];
        if usize::from(label) >= format.classes {
            let problem = format!(
                "record {index} has label {label}, expected 0 to {}; the file is damaged: get the data set anew",
                format.classes - 1
            );
            return Err(Error::Data { path: path.into(), problem });
        }
        into.labels.push(label.into());
        let (red, rest) = planes.split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        let start = into.pixels.len();
        into.pixels.resize(start + IMAGE_LEN, 0);
        let (pixels, _) = into.pixels[start..].as_chunks_mut::<CHANNELS>();
        for (pixel, ((&r, &g), &b)) in pixels.iter_mut().zip(red.iter().zip(green).zip(blue)) {
            *pixel = [r, g, b];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// A data set on disk: byte `b` of the pixels of record `i` is `i + b`, modulo 256.
    fn write(dir: &Path, format: &Format) {
        fs::create_dir_all(dir).unwrap();
        for (name, records) in format.files() {
            let mut bytes = Vec::with_capacity(records * format.record());
            for i in 0..records {
                bytes.extend((1..format.labels).map(|_| 255));
                bytes.push((i % format.classes) as u8);
                bytes.extend((0..IMAGE_LEN).map(|b| (i + b) as u8));
            }
            fs::write(dir.join(name), bytes).unwrap();
        }
    }

    fn problem(dir: &Path) -> String {
        let error = open(dir).expect_err("a bad folder is refused");
        assert!(matches!(error, Error::Data { .. }), "{error}");
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    }

    fn assert_has(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{text:?} does not say {part:?}");
        }
    }

    #[test]
    fn both_formats_are_read_from_their_folder_and_from_its_parent() {
        for format in [&CIFAR_10, &CIFAR_100] {
            let parent = TempDir::new().unwrap();
            let dir = parent.path().join(format.folder);
            write(&dir, format);
            let set = open(&dir).unwrap();
            assert_eq!((set.name.as_str(), set.classes), (format.name, format.classes));
            assert_eq!((set.train.len(), set.test.len()), (50_000, 10_000));
            assert_eq!(set.bytes(), 60_000 * (IMAGE_LEN as u64 + 2));
            for i in [0, 1, 9_999] {
                assert_eq!(usize::from(set.train.labels[i]), i % format.classes);
                let image = set.test.image(i);
                for p in [0, 77, 1023] {
                    let planes = [p, p + 1024, p + 2048].map(|b| (i + b) as u8);
                    assert_eq!(image[3 * p..][..3], planes, "record {i}, pixel {p}");
                }
            }
            assert_eq!(open(parent.path()).unwrap(), set);
        }
    }

    #[test]
    fn a_folder_without_the_data_set_is_named() {
        let dir = TempDir::new().unwrap();
        let missing = dir.path().join("nowhere");
        assert_has(&problem(&missing), &["nowhere", "no such folder", "--download"]);
        assert_has(&problem(dir.path()), &["empty", "--download"]);
        let file = dir.path().join("notes.txt");
        fs::write(&file, "x").unwrap();
        assert_has(&problem(&file), &["notes.txt", "is a file"]);
        assert_has(&problem(dir.path()), &["no CIFAR file", "data_batch_1.bin", "train.bin"]);
        fs::write(dir.path().join("data_batch_1"), "x").unwrap();
        assert_has(&problem(dir.path()), &["Python version", "binary version"]);
    }

    #[test]
    fn a_broken_file_is_named_with_found_and_expected_bytes() {
        let dir = TempDir::new().unwrap();
        write(dir.path(), &CIFAR_10);
        let victim = dir.path().join("data_batch_3.bin");
        let good = fs::read(&victim).unwrap();

        fs::remove_file(&victim).unwrap();
        assert_has(&problem(dir.path()), &["data_batch_3.bin", "missing"]);

        fs::write(&victim, &good[..30_729_999]).unwrap();
        assert_has(
            &problem(dir.path()),
            &["data_batch_3.bin", "truncated", "30729999", "30730000", "not a multiple of the 3073-byte record"],
        );

        fs::write(&victim, &good[..3073 * 9_999]).unwrap();
        let text = problem(dir.path());
        assert_has(&text, &["truncated", "30726927", "30730000"]);
        assert!(!text.contains("multiple"), "{text}");

        fs::write(&victim, [&good[..], &[0]].concat()).unwrap();
        assert_has(&problem(dir.path()), &["larger than", "30730001", "30730000", "not a multiple"]);

        fs::write(&victim, []).unwrap();
        assert_has(&problem(dir.path()), &["truncated", "found 0 bytes"]);

        let mut bad = good.clone();
        bad[3073 * 4_321] = 10;
        fs::write(&victim, bad).unwrap();
        assert_has(&problem(dir.path()), &["data_batch_3.bin", "record 4321", "label 10", "0 to 9"]);

        fs::remove_file(&victim).unwrap();
        fs::create_dir(&victim).unwrap();
        assert_has(&problem(dir.path()), &["data_batch_3.bin", "this is a folder"]);
    }

    #[test]
    fn cifar_100_fine_labels_are_checked() {
        let dir = TempDir::new().unwrap();
        write(dir.path(), &CIFAR_100);
        let victim = dir.path().join("test.bin");
        let mut bytes = fs::read(&victim).unwrap();
        bytes[3074 * 9_999 + 1] = 100;
        fs::write(&victim, bytes).unwrap();
        assert_has(&problem(dir.path()), &["test.bin", "record 9999", "label 100", "0 to 99"]);
        fs::remove_file(&victim).unwrap();
        assert_has(&problem(dir.path()), &["test.bin", "missing"]);
    }
}
