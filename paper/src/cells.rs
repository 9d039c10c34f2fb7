//! The cells of an experiment: which are there, and computing those that are not.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rewind::error::{Error, Result};
use rewind_train::atomic::{remove_left_over, write_atomically};
use rewind_train::log::Log;
use rewind_train::pace::Clock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Tables and pictures are made anew at most so often while cells come in.
const PUBLISH_EVERY: Duration = Duration::from_secs(10);

/// A cell that was computed is told of unless another was just before.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// The settings of one cell: everything that its result depends on.
pub trait Cell: Serialize {
    /// What a cell gives.
    type Result: Serialize + DeserializeOwned;

    /// The name of its file, without an ending: what tells it from the other cells of one run of the experiment.
    fn key(&self) -> String;

    /// How long it takes, in any unit that the experiment's cells share.
    fn work(&self) -> f64;
}

/// How an experiment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every cell is there.
    Complete,
    /// It was told to stop; the cells so far are kept.
    Interrupted,
}

/// The folder of an experiment's cells, and its lock: while this lives, no other process has the folder.
#[derive(Debug)]
pub struct Cells {
    folder: PathBuf,
    /// Locked; the system lets go of it however this process ends.
    _lock: File,
}

impl Cells {
    /// The cells in `folder`/cells, a folder that is made where there is none.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made, [`Error::Data`] if another process is at work in it.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = folder.join("cells");
        fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {
                folder.parent().into_iter().chain([&*folder]).for_each(remove_left_over);
                Ok(Self { folder, _lock: lock })
            }
            Err(TryLockError::WouldBlock) => Err(Error::Data {
                path,
                problem: "another process computes these cells: wait for it, or name another folder with --out".into(),
            }),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path)(e)),
        }
    }

    fn path(&self, cell: &impl Cell) -> PathBuf {
        self.folder.join(format!("{}.json", cell.key()))
    }

    /// The cell's result, if it was computed with these settings; none if it was not, or with others.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Data`] if it is no cell's.
    pub fn find<C: Cell>(&self, cell: &C) -> Result<Option<C::Result>> {
        let path = self.path(cell);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        let damaged = |e: serde_json::Error| Error::Data {
            path: path.clone(),
            problem: format!("this is no cell of this experiment ({e}): remove it, and it is computed again"),
        };
        let mut held: Value = serde_json::from_slice(&text).map_err(damaged)?;
        if held["settings"] != settings_of(cell) {
            return Ok(None);
        }
        serde_json::from_value(held["result"].take()).map(Some).map_err(damaged)
    }

    /// Keeps a cell's result, and gives back what will be read of it.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written, [`Error::Data`] if it could not be read again, as one that is not finite.
    pub fn keep<C: Cell>(&self, cell: &C, result: &C::Result) -> Result<C::Result> {
        let path = self.path(cell);
        let refused = |e: serde_json::Error| Error::Data {
            path: path.clone(),
            problem: format!("this cell's result cannot be kept ({e}): a number may not be finite"),
        };
        let value = serde_json::to_value(result).map_err(refused)?;
        let text = format!("{:#}\n", json!({ "settings": settings_of(cell), "result": value }));
        let read = serde_json::from_value(value).map_err(refused)?;
        write_atomically(&path, |w| w.write_all(text.as_bytes()))?;
        Ok(read)
    }

    /// Brings together all cells: those that are there, and the others by `compute`, which gives none where it was told to
    /// stop. `publish` is handed all cells so far, now and then and at the end.
    ///
    /// # Errors
    /// Whatever reading, computing, keeping or publishing a cell reports.
    pub fn complete<C: Cell>(
        &self,
        cells: &[C],
        log: &mut Log,
        stop: &AtomicBool,
        mut compute: impl FnMut(&C) -> Result<Option<C::Result>>,
        mut publish: impl FnMut(&[(&C, C::Result)]) -> Result<()>,
    ) -> Result<Ending> {
        let found: Vec<Option<C::Result>> = cells.iter().map(|cell| self.find(cell)).collect::<Result<_>>()?;
        let to_do: f64 = cells.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(c, _)| c.work()).sum();
        let there = found.iter().flatten().count();
        if there > 0 {
            log.note(&format!("{there} of {} cells are there", cells.len()));
        }
        let mut done = Vec::with_capacity(cells.len());
        let (start, mut published, mut worked) = (Instant::now(), Instant::now(), 0.0);
        let (mut noted, mut ending) = (None::<Instant>, Ending::Complete);
        for (cell, found) in cells.iter().zip(found) {
            if let Some(result) = found {
                done.push((cell, result));
                continue;
            }
            // what is there already is shown even where the rest has to wait
            if ending == Ending::Interrupted {
                continue;
            }
            let computed = if stop.load(Ordering::Relaxed) { None } else { compute(cell)? };
            let Some(result) = computed else {
                ending = Ending::Interrupted;
                continue;
            };
            done.push((cell, self.keep(cell, &result)?));
            worked += cell.work();
            let seconds = start.elapsed().as_secs_f64();
            let left = Clock(seconds / worked.max(f64::MIN_POSITIVE) * (to_do - worked));
            if noted.is_none_or(|noted| noted.elapsed() > NOTE_EVERY) {
                log.note(&format!("cell {}/{}, {}: {left} left", done.len(), cells.len(), cell.key()));
                noted = Some(Instant::now());
            }
            if published.elapsed() > PUBLISH_EVERY {
                publish(&done)?;
                published = Instant::now();
            }
        }
        publish(&done)?;
        Ok(ending)
    }
}

fn settings_of(cell: &impl Cell) -> Value {
    serde_json::to_value(cell).expect("settings are plain numbers and names")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewind_train::log::LogKind;

    #[derive(Serialize)]
    struct Root {
        of: f64,
        digits: usize,
    }

    impl Cell for Root {
        type Result = f64;

        fn key(&self) -> String {
            format!("root-{}", self.of)
        }

        fn work(&self) -> f64 {
            1.0
        }
    }

    fn roots(digits: usize) -> Vec<Root> {
        [2.0, 3.0, 5.0].map(|of| Root { of, digits }).into()
    }

    /// Which cells were computed, and what was published last.
    fn complete(folder: &Path, cells: &[Root], stop_at: Option<f64>) -> Result<(Ending, Vec<f64>, Vec<f64>)> {
        let (mut computed, mut published) = (Vec::new(), Vec::new());
        let stop = AtomicBool::new(false);
        let ending = Cells::open(folder)?.complete(
            cells,
            &mut Log::new(LogKind::Quiet),
            &stop,
            |cell| {
                computed.push(cell.of);
                if stop_at == Some(cell.of) {
                    return Ok(None);
                }
                Ok(Some(cell.of.sqrt()))
            },
            |done| {
                published = done.iter().map(|(_, root)| *root).collect();
                Ok(())
            },
        )?;
        Ok((ending, computed, published))
    }

    #[test]
    fn a_stopped_experiment_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let all = [2f64, 3.0, 5.0].map(f64::sqrt).to_vec();
        let first = complete(folder.path(), &roots(4), Some(3.0)).unwrap();
        assert_eq!(first, (Ending::Interrupted, vec![2.0, 3.0], all[..1].to_vec()));
        let second = complete(folder.path(), &roots(4), None).unwrap();
        assert_eq!(second, (Ending::Complete, vec![3.0, 5.0], all.clone()));
        // the same bits, read or computed
        let third = complete(folder.path(), &roots(4), None).unwrap();
        assert_eq!(third, (Ending::Complete, vec![], all.clone()));
        let others = complete(folder.path(), &roots(5), None).unwrap();
        assert_eq!(others, (Ending::Complete, vec![2.0, 3.0, 5.0], all));
    }

    #[test]
    fn a_folder_is_one_processs_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = Cells::open(folder.path()).unwrap();
        let message = Cells::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("another process computes these cells"), "{message}");
        drop(held);
        Cells::open(folder.path()).unwrap();
    }

    #[test]
    fn damaged_cells_and_numbers_that_are_none_are_refused_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let nan = [Root { of: -1.0, digits: 4 }];
        let message = complete(folder.path(), &nan, None).unwrap_err().to_string();
        assert!(message.contains("root--1.json: this cell's result cannot be kept"), "{message}");
        fs::write(folder.path().join("cells/root-2.json"), "{").unwrap();
        let message = complete(folder.path(), &roots(4), None).unwrap_err().to_string();
        assert!(message.contains("root-2.json: this is no cell"), "{message}");
    }
}
