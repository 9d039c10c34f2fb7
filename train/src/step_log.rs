//! `steps.csv`: a row every so many steps, for runs whose epochs are long. `--log-steps K` asks for it.
//!
//! A row is added the moment its step was looked at, and can be read at once. A session that is killed leaves rows of steps that its
//! checkpoint does not know: the next one cuts them off and computes them again.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use rewind::error::{Error, Result};
use rewind_pictures::regular;

use crate::atomic::{sync, write_atomically};

/// The first line: the fields of [`StepRow`]. Those that metrics.csv has too have the same names.
const HEADER: &str = "epoch,step,images,train_loss,train_accuracy,learning_rate,drift,images_per_second\n";

/// A row: the steps since the row before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRow {
    /// The epoch of the last of them, counted from 1.
    pub epoch: usize,
    /// The last of them, counted from 1 over all epochs.
    pub step: u64,
    /// Images that the run has trained on after it.
    pub images: u64,
    /// Mean loss over the images of these steps, as they were trained on.
    pub train_loss: f64,
    /// Fraction of them classified correctly.
    pub train_accuracy: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Mean drift of these steps; none in modes that reconstruct nothing.
    pub drift: Option<f64>,
    /// Images per second of training.
    pub images_per_second: f64,
}

/// The file, open at its end.
#[derive(Debug)]
pub(crate) struct StepLog {
    path: PathBuf,
    file: File,
    every: u64,
    text: String,
}

impl StepLog {
    /// Opens the file of a run that has done `done` steps, and cuts off what it says of later ones.
    ///
    /// # Errors
    /// [`Error::Data`] if there is a file of another kind, [`Error::Io`] if it cannot be read or written.
    pub fn open(path: &Path, every: u64, done: u64) -> Result<Self> {
        let there = path.symlink_metadata().is_ok();
        if done == 0 || !there {
            write_atomically(path, |file| file.write_all(HEADER.as_bytes()))?;
        } else {
            let keep = rows_until(path, done)?;
            let cut = File::options().write(true).open(path).and_then(|file| file.set_len(keep));
            cut.map_err(Error::io("write", path))?;
        }
        let file = File::options().append(true).open(path).map_err(Error::io("write", path))?;
        Ok(Self { path: path.into(), file, every, text: String::with_capacity(256) })
    }

    /// Whether a row ends with this step.
    pub fn ends_row(&self, step: u64) -> bool {
        step.is_multiple_of(self.every)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn add(&mut self, row: &StepRow) -> Result<()> {
        let StepRow { epoch, step, images, train_loss, train_accuracy, learning_rate, drift, images_per_second } = row;
        self.text.clear();
        let told = "a string takes any text";
        write!(self.text, "{epoch},{step},{images},{train_loss},{train_accuracy},{learning_rate},").expect(told);
        drift.map_or(Ok(()), |drift| write!(self.text, "{drift}")).expect(told);
        writeln!(self.text, ",{images_per_second}").expect(told);
        self.file.write_all(self.text.as_bytes()).map_err(Error::io("write", &self.path))
    }

    /// Puts the rows on the disk: a checkpoint that follows counts on them.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk fails.
    pub fn sync(&self) -> Result<()> {
        sync(&self.file, &self.path)
    }
}

/// The bytes up to the first row of a step after `done`, or one that is none.
fn rows_until(path: &Path, done: u64) -> Result<u64> {
    let foreign = |problem: String| Error::Data { path: path.into(), problem };
    let file = regular::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidInput => foreign(format!("this {e}: move it away, and a new one is begun")),
        _ => Error::io("read", path)(e),
    })?;
    let (mut reader, mut line, mut keep) = (BufReader::new(file), Vec::new(), 0);
    loop {
        line.clear();
        // no row is as long
        let mut short = std::io::Read::take(&mut reader, 1 << 12);
        short.read_until(b'\n', &mut line).map_err(Error::io("read", path))?;
        let held = match keep {
            0 if line != HEADER.as_bytes() => {
                let problem = "its first line is not that of a steps.csv: move it away, and a new one is begun";
                return Err(foreign(problem.into()));
            }
            0 => true,
            _ => step_of(&line).is_some_and(|step| step <= done),
        };
        if !held {
            return Ok(keep);
        }
        keep += line.len() as u64;
    }
}

/// The step of a whole row.
fn step_of(line: &[u8]) -> Option<u64> {
    let row = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let fields = HEADER.split(',').count();
    let step = row.split(',').nth(1).filter(|_| row.split(',').count() == fields)?;
    step.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64) -> StepRow {
        let drift = step.is_multiple_of(4).then_some(1e-3);
        let base = StepRow {
            epoch: 1,
            step,
            images: 8 * step,
            train_loss: 2.5,
            train_accuracy: 0.25,
            learning_rate: 0.1,
            drift,
            images_per_second: 100.0,
        };
        StepRow { train_loss: 0.1 + step as f64, ..base }
    }

    #[test]
    fn rows_are_added_and_those_after_the_checkpoint_are_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps.csv");
        let text = || std::fs::read_to_string(&path).unwrap();
        let mut log = StepLog::open(&path, 2, 0).unwrap();
        assert!(log.ends_row(4) && !log.ends_row(5));
        [2, 4, 6].iter().for_each(|step| log.add(&row(*step)).unwrap());
        log.sync().unwrap();
        let whole = text();
        assert!(
            whole.starts_with(&format!("{HEADER}1,2,16,2.1,0.25,0.1,,100\n1,4,32,4.1,0.25,0.1,0.001,100\n")),
            "{whole}"
        );
        // a session that was killed in the middle of a row
        std::fs::write(&path, format!("{whole}1,8,64,")).unwrap();
        let mut log = StepLog::open(&path, 2, 5).unwrap();
        assert_eq!(text().lines().count(), 3);
        log.add(&row(6)).unwrap();
        assert_eq!(text(), whole);
        // and one that lost its file
        std::fs::remove_file(&path).unwrap();
        StepLog::open(&path, 2, 5).unwrap().add(&row(6)).unwrap();
        assert_eq!(text().lines().count(), 2);
        // a new run begins anew
        StepLog::open(&path, 2, 0).unwrap();
        assert_eq!(text(), HEADER);
    }

    #[test]
    fn another_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps.csv");
        for text in ["", "my,own,table\n1,2,3\n", "epoch,step"] {
            std::fs::write(&path, text).unwrap();
            let error = StepLog::open(&path, 1, 3).unwrap_err();
            assert!(error.to_string().contains("not that of a steps.csv: move it away"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(StepLog::open(&path, 1, 3).unwrap_err().to_string().contains("this is a folder: move it away"));
    }
}
