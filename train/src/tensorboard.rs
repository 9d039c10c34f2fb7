//! The event file that TensorBoard reads: a record for each epoch and each row of `steps.csv`. `--tensorboard` asks for it.
//!
//! A record is `length: u64, masked CRC of the length: u32, payload, masked CRC of the payload: u32`, all little-endian. The CRC is CRC-32C,
//! turned right by 15 bits, plus a constant. The payload is a protobuf `Event`, of which these fields are used:
//!
//! ```text
//! Event    1 wall_time: double   2 step: int64   3 file_version: string   5 summary: Summary
//! Summary  1 value: repeated Value
//! Value    1 tag: string   2 simple_value: float
//! ```

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rewind::error::{Error, Result};
use rewind_pictures::regular;

use crate::atomic::{sync, write_atomically};
use crate::progress::EpochRow;
use crate::step_log::StepRow;

/// What the first record of every such file says.
const VERSION: &str = "brain.Event:2";
/// A value that every epoch has, by which its record is known.
const OF_EPOCH: &str = "loss/test";
/// A record of more bytes is none of ours.
const RECORD_MAX: u64 = 1 << 16;

/// The file, open at its end.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
    /// Epochs that it has.
    epochs: usize,
}

impl EventFile {
    /// Opens the file of a run that has done `done` steps, and cuts off what it says of later ones.
    ///
    /// # Errors
    /// [`Error::Data`] if there is a file of another kind, [`Error::Io`] if it cannot be read or written.
    pub fn open(path: &Path, done: u64) -> Result<Self> {
        let mut epochs = 0;
        if done == 0 || path.symlink_metadata().is_err() {
            let first = record(&event(0, &[], Some(VERSION)));
            write_atomically(path, |file| file.write_all(&first))?;
        } else {
            let (keep, held) = records_until(path, done)?;
            epochs = held;
            let cut = File::options().write(true).open(path).and_then(|file| file.set_len(keep));
            cut.map_err(Error::io("write", path))?;
        }
        let file = File::options().append(true).open(path).map_err(Error::io("write", path))?;
        Ok(Self { path: path.into(), file, epochs })
    }

    /// Adds the epochs of a run that the file lacks, of so many steps each.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written.
    pub fn add_epochs(&mut self, history: &[EpochRow], steps: usize) -> Result<()> {
        for row in history.iter().skip(self.epochs) {
            let values = [
                ("loss/train", Some(row.train_loss)),
                (OF_EPOCH, Some(row.test_loss)),
                ("accuracy/train", Some(row.train_accuracy)),
                ("accuracy/test", Some(row.test_accuracy)),
                ("learning_rate", Some(row.learning_rate)),
                ("drift", row.drift),
                ("images_per_second", Some(row.images_per_second)),
            ];
            self.add((row.epoch * steps) as u64, &values)?;
        }
        self.epochs = self.epochs.max(history.len());
        Ok(())
    }

    /// Adds a row of steps.csv.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn add_steps(&mut self, row: &StepRow) -> Result<()> {
        let values = [
            ("steps/loss", Some(row.train_loss)),
            ("steps/accuracy", Some(row.train_accuracy)),
            ("steps/learning_rate", Some(row.learning_rate)),
            ("steps/drift", row.drift),
            ("steps/images_per_second", Some(row.images_per_second)),
        ];
        self.add(row.step, &values)
    }

    fn add(&mut self, step: u64, values: &[(&str, Option<f64>)]) -> Result<()> {
        let record = record(&event(step, values, None));
        self.file.write_all(&record).map_err(Error::io("write", &self.path))
    }

    /// Puts the records on the disk: a checkpoint that follows counts on them.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk fails.
    pub fn sync(&self) -> Result<()> {
        sync(&self.file, &self.path)
    }
}

/// The payload of a record, which happens now.
fn event(step: u64, values: &[(&str, Option<f64>)], version: Option<&str>) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut event = Vec::with_capacity(512);
    double(&mut event, 1, now.as_secs_f64());
    key(&mut event, 2, VARINT);
    varint(&mut event, step);
    if let Some(version) = version {
        bytes(&mut event, 3, version.as_bytes());
    }
    let mut summary = Vec::new();
    for (tag, value) in values.iter().filter_map(|(tag, value)| Some((tag, (*value)?))) {
        let mut message = Vec::new();
        bytes(&mut message, 1, tag.as_bytes());
        float(&mut message, 2, value as f32);
        bytes(&mut summary, 1, &message);
    }
    if !summary.is_empty() {
        bytes(&mut event, 5, &summary);
    }
    event
}

/// The kinds of a protobuf field.
const VARINT: u8 = 0;
const EIGHT_BYTES: u8 = 1;
const LENGTH: u8 = 2;
const FOUR_BYTES: u8 = 5;

fn key(out: &mut Vec<u8>, field: u8, kind: u8) {
    out.push(field << 3 | kind);
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    key(out, field, LENGTH);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn double(out: &mut Vec<u8>, field: u8, value: f64) {
    key(out, field, EIGHT_BYTES);
    out.extend_from_slice(&value.to_le_bytes());
}

fn float(out: &mut Vec<u8>, field: u8, value: f32) {
    key(out, field, FOUR_BYTES);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A payload in its frame.
fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    [&length[..], &masked(crc32c(&length)).to_le_bytes(), payload, &masked(crc32c(payload)).to_le_bytes()].concat()
}

/// As the format has it: a CRC of bytes that hold a CRC would tell little.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Castagnoli's CRC, bit by bit: records are small and few.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let of_bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), of_bit))
}

/// The bytes up to the first record of a step after `done`, or one that is damaged, and the epochs among them.
fn records_until(path: &Path, done: u64) -> Result<(u64, usize)> {
    let foreign = |problem: String| Error::Data { path: path.into(), problem };
    let file = regular::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidInput => foreign(format!("this {e}: move it away, and a new one is begun")),
        _ => Error::io("read", path)(e),
    })?;
    let (mut reader, mut keep, mut epochs) = (BufReader::new(file), 0, 0);
    while let Some(payload) = next_record(&mut reader).map_err(Error::io("read", path))? {
        let holds = |text: &str| payload.windows(text.len()).any(|part| part == text.as_bytes());
        if keep == 0 && !holds(VERSION) {
            break;
        }
        if step_of(&payload).is_none_or(|step| step > done) {
            break;
        }
        epochs += usize::from(holds(OF_EPOCH));
        keep += record(&payload).len() as u64;
    }
    match keep {
        0 => Err(foreign("it does not begin as an event file does: move it away, and a new one is begun".into())),
        _ => Ok((keep, epochs)),
    }
}

/// The payload of the next record; none at the end, or where it is damaged.
fn next_record(reader: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut read = |n: u64| {
        let mut bytes = Vec::new();
        let whole = reader.by_ref().take(n).read_to_end(&mut bytes)? as u64 == n;
        Ok::<_, std::io::Error>(whole.then_some(bytes))
    };
    let (Some(length), Some(crc)) = (read(8)?, read(4)?) else { return Ok(None) };
    let bytes = u64::from_le_bytes(length[..].try_into().expect("eight were read"));
    if masked(crc32c(&length)).to_le_bytes() != crc[..] || bytes > RECORD_MAX {
        return Ok(None);
    }
    let (Some(payload), Some(crc)) = (read(bytes)?, read(4)?) else { return Ok(None) };
    Ok((masked(crc32c(&payload)).to_le_bytes() == crc[..]).then_some(payload))
}

/// The step of an event, which follows its time.
fn step_of(payload: &[u8]) -> Option<u64> {
    let rest = payload.get(9..)?.strip_prefix(&[2 << 3 | VARINT])?;
    let mut step = 0;
    for (place, byte) in rest.iter().enumerate().take(9) {
        step |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(step);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::tests::row;

    /// A field of a protobuf message: its number, and what it holds.
    #[derive(Clone, Debug, PartialEq)]
    enum Held {
        Number(u64),
        Double(f64),
        Float(f32),
        Bytes(Vec<u8>),
    }

    /// A message by the book, field by field.
    fn fields(mut message: &[u8]) -> Vec<(u64, Held)> {
        fn number(message: &mut &[u8]) -> u64 {
            let mut value = 0;
            for place in 0.. {
                let (byte, rest) = message.split_first().expect("a byte");
                *message = rest;
                value |= u64::from(byte & 0x7f) << (7 * place);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            value
        }
        fn part<'a>(message: &mut &'a [u8], n: usize) -> &'a [u8] {
            let (part, rest) = message.split_at(n);
            *message = rest;
            part
        }
        let mut all = Vec::new();
        while !message.is_empty() {
            let key = number(&mut message);
            let held = match key & 7 {
                0 => Held::Number(number(&mut message)),
                1 => Held::Double(f64::from_le_bytes(part(&mut message, 8).try_into().unwrap())),
                5 => Held::Float(f32::from_le_bytes(part(&mut message, 4).try_into().unwrap())),
                2 => {
                    let n = number(&mut message) as usize;
                    Held::Bytes(part(&mut message, n).to_vec())
                }
                kind => panic!("a field of kind {kind}"),
            };
            all.push((key >> 3, held));
        }
        all
    }

    /// Step, version and values of an event.
    type Heard = (u64, String, Vec<(String, f32)>);

    /// Those of a file.
    fn events(path: &Path) -> Vec<Heard> {
        let mut reader = &std::fs::read(path).unwrap()[..];
        let mut all = Vec::new();
        while let Some(payload) = next_record(&mut reader).unwrap() {
            let (mut step, mut version, mut values) = (0, String::new(), Vec::new());
            for (field, held) in fields(&payload) {
                match (field, held) {
                    (1, Held::Double(time)) => assert!(time > 1.7e9, "{time}"),
                    (2, Held::Number(number)) => step = number,
                    (3, Held::Bytes(text)) => version = String::from_utf8(text).unwrap(),
                    (5, Held::Bytes(summary)) => {
                        for (_, value) in fields(&summary) {
                            let Held::Bytes(value) = value else { panic!("{value:?}") };
                            let [(1, Held::Bytes(tag)), (2, Held::Float(value))] = &fields(&value)[..] else {
                                panic!("{value:?}")
                            };
                            values.push((String::from_utf8(tag.clone()).unwrap(), *value));
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            all.push((step, version, values));
        }
        assert!(reader.is_empty(), "every byte is of a record");
        all
    }

    fn steps(step: u64) -> StepRow {
        StepRow {
            epoch: 1,
            step,
            images: 9,
            train_loss: 2.0,
            train_accuracy: 0.5,
            learning_rate: 0.1,
            drift: None,
            images_per_second: 7.0,
        }
    }

    #[test]
    fn crcs_are_those_of_the_published_examples() {
        // RFC 3720, B.4
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    #[test]
    fn epochs_and_steps_are_read_back_and_a_session_goes_on_where_its_checkpoint_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.out.tfevents.rewind");
        let history = [row(1), row(2), row(3)];
        let mut file = EventFile::open(&path, 0).unwrap();
        file.add_steps(&steps(200)).unwrap();
        file.add_epochs(&history[..1], 300).unwrap();
        file.add_epochs(&history[..1], 300).unwrap();
        file.add_steps(&steps(400)).unwrap();
        file.sync().unwrap();
        let of = |path: &Path| events(path).iter().map(|(step, ..)| *step).collect::<Vec<_>>();
        assert_eq!(of(&path), [0, 200, 300, 400]);
        let all = events(&path);
        assert_eq!((all[0].1.as_str(), all[0].2.len()), ("brain.Event:2", 0));
        let tags: Vec<&str> = all[2].2.iter().map(|(tag, _)| tag.as_str()).collect();
        let expected = [
            "loss/train",
            "loss/test",
            "accuracy/train",
            "accuracy/test",
            "learning_rate",
            "drift",
            "images_per_second",
        ];
        assert_eq!(tags, expected);
        assert_eq!(all[2].2[0].1, row(1).train_loss as f32);
        assert_eq!(all[1].2.len(), 4, "no drift is no value");
        // the checkpoint is of step 300: what came after it is computed again
        let mut file = EventFile::open(&path, 300).unwrap();
        assert_eq!(of(&path), [0, 200, 300]);
        file.add_epochs(&history[..2], 300).unwrap();
        assert_eq!(of(&path), [0, 200, 300, 600]);
        // a record that was cut, and epochs that were saved and not yet told
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        EventFile::open(&path, 900).unwrap().add_epochs(&history, 300).unwrap();
        assert_eq!(of(&path), [0, 200, 300, 600, 900]);
    }

    #[test]
    fn another_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let huge = [&u64::MAX.to_le_bytes()[..], &masked(crc32c(&u64::MAX.to_le_bytes())).to_le_bytes()].concat();
        for bytes in [&b""[..], b"a text of somebody else's", &record(b"a record"), &huge] {
            std::fs::write(&path, bytes).unwrap();
            let error = EventFile::open(&path, 3).unwrap_err();
            assert!(error.to_string().contains("does not begin as an event file does"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
}
