//! The folder of a run: claimed when the run starts, found again when it resumes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rewind::error::{Error, Result};
use rewind::scheme::StepSize;

use crate::atomic::remove_left_over;
use crate::config::{Block, NetKind, RunConfig, listed};
use crate::lock::{self, Lock};

/// The folder under which runs without `--out` land.
const RUNS: &str = "runs";
/// A run's checkpoint, in its folder.
pub(crate) const CHECKPOINT: &str = "checkpoint.safetensors";

/// A folder that belongs to one run, and the names of what the run leaves in it.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Whether this program made the folder.
    made: bool,
    /// Keeps other sessions out for as long as any clone lives; none if the folder is only looked at.
    lock: Option<Arc<Lock>>,
}

impl RunFolder {
    /// Claims a folder for a new run: `out` if given, else the first free one of `runs/<name>`, `runs/<name>-2`, ... No other session gets
    /// it as long as this, or a clone of it, lives.
    ///
    /// An `out` that exists may hold anything but another run.
    ///
    /// # Errors
    /// [`Error::Usage`] if `out` is a file or holds a run, [`Error::Data`] if another session is at work in it, [`Error::Io`] if the folder
    /// cannot be made.
    pub fn claim(out: Option<&Path>, name: &str) -> Result<Self> {
        match out {
            Some(path) => Self::claim_exactly(path),
            None => Self::claim_numbered(Path::new(RUNS), name),
        }
    }

    /// Refuses an `out` that [`RunFolder::claim`] would refuse, before anything costs time. Nothing is made.
    ///
    /// # Errors
    /// As there.
    pub fn check_free(out: &Path) -> Result<()> {
        let folder = Self::unlocked(out);
        match fs::metadata(out) {
            Ok(found) if !found.is_dir() => {
                return Err(Error::Usage(format!("--out {} is a file: name a folder", out.display())));
            }
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            Err(e) => return Err(Error::io("look into", out)(e)),
        }
        for file in [folder.config(), folder.checkpoint(), folder.metrics()] {
            // one that is there but cannot be looked at is a run too
            if file.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
                continue;
            }
            let name = file.file_name().unwrap_or_default().display();
            return Err(Error::Usage(format!(
                "--out {} already holds a run ({name}): name another folder, or continue that run with --resume",
                out.display(),
            )));
        }
        Ok(())
    }

    fn unlocked(path: &Path) -> Self {
        Self { path: path.into(), made: false, lock: None }
    }

    fn claim_exactly(path: &Path) -> Result<Self> {
        Self::check_free(path)?;
        let made = !path.exists();
        fs::create_dir_all(path).map_err(Error::io("create the folder", path))?;
        let advice = "wait for its end, or name another folder with --out";
        let folder = Self { made, ..Self::unlocked(path).locked(advice)? };
        // a session that was faster may have come and gone since
        Self::check_free(path)?;
        remove_left_over_in(&folder);
        Ok(folder)
    }

    fn claim_numbered(runs: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(runs).map_err(Error::io("create the folder", runs))?;
        let mut path = runs.join(name);
        let mut number = 1;
        // `create_dir` fails if the folder exists, so of two runs that start together only one gets it.
        while let Err(e) = fs::create_dir(&path) {
            if e.kind() != ErrorKind::AlreadyExists {
                return Err(Error::io("create the folder", &path)(e));
            }
            number += 1;
            path = runs.join(format!("{name}-{number}"));
        }
        Ok(Self { made: true, ..Self::unlocked(&path).locked("wait for its end")? })
    }

    /// The folder of a run that exists, for `--resume`. No other session gets it as long as this, or a clone of it, lives: the checkpoint is
    /// to be read after this.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no folder or holds no checkpoint, [`Error::Data`] if another session is at work in it, [`Error::Io`] if the
    /// system does not let it be looked at or written.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Self::look(path)?.locked("wait for its end, or stop it, then resume the run")?;
        remove_left_over_in(&folder);
        Ok(folder)
    }

    /// The folder of a run that exists, to be read alone: by a plan or a test. Another session may be at work in it.
    ///
    /// # Errors
    /// As for [`RunFolder::open`].
    pub fn look(path: &Path) -> Result<Self> {
        let folder = Self::unlocked(path);
        let found = match fs::metadata(path) {
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(Error::io("look into", path)(e));
            }
            found => found.is_ok_and(|found| found.is_dir()),
        };
        if !found {
            return Err(Error::Usage(format!("--resume {} is not a folder: name the folder of a run", path.display())));
        }
        match fs::metadata(folder.checkpoint()) {
            Ok(_) => Ok(folder),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(Error::Usage(format!(
                "--resume {} holds no checkpoint.safetensors: name a run that finished an epoch or was stopped by Ctrl-C",
                path.display()
            ))),
            Err(e) => Err(Error::io("look into", path)(e)),
        }
    }

    /// The folder of a checkpoint by any name, of which nothing but that is looked at.
    pub fn around(checkpoint: &Path) -> Self {
        let folder = checkpoint.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::unlocked(folder)
    }

    /// The same, with other sessions kept out; `advice` is for who meets one.
    fn locked(self, advice: &str) -> Result<Self> {
        match Lock::take(&self.path)? {
            Some(lock) => Ok(Self { lock: Some(Arc::new(lock)), ..self }),
            None => {
                let problem = format!("another session is at work in this folder: {advice}");
                Err(Error::Data { path: self.path, problem })
            }
        }
    }

    /// The same, with other sessions kept out from now on if they were not.
    pub(crate) fn held(self) -> Result<Self> {
        if self.lock.is_some() { Ok(self) } else { Self::open(&self.path) }
    }

    /// The same, open to other sessions: it is only looked at.
    pub(crate) fn released(self) -> Self {
        Self { lock: None, ..self }
    }

    /// What the user should know, where the file system cannot keep other sessions out.
    pub(crate) fn notice(&self) -> Option<String> {
        self.lock.as_ref().and_then(|lock| lock.notice())
    }

    /// Removes a folder that was made for a run which then could not write its first file.
    pub fn remove_if_left_empty(&self) {
        let only_locked = || {
            let entries = fs::read_dir(&self.path).ok()?;
            Some(entries.flatten().all(|entry| entry.file_name() == lock::NAME))
        };
        if self.made && only_locked() == Some(true) {
            if self.lock.is_some() {
                let _ = fs::remove_file(self.path.join(lock::NAME));
            }
            // only an empty folder can be removed this way
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: what replays the run.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `metrics.csv`: a row per epoch.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.csv")
    }

    /// `steps.csv`: a row every so many steps.
    pub fn steps(&self) -> PathBuf {
        self.path.join("steps.csv")
    }

    /// What TensorBoard reads: it knows such files by a part of their name.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.out.tfevents.rewind")
    }

    /// `curves.svg`: the metrics drawn.
    pub fn curves(&self) -> PathBuf {
        self.path.join("curves.svg")
    }

    /// `curves.png`: the same, for readers that show no SVG.
    pub fn raster(&self) -> PathBuf {
        self.path.join("curves.png")
    }

    /// `summary.json`: how it ended.
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// `broken.txt`: pictures that are left out, and why.
    pub fn broken(&self) -> PathBuf {
        self.path.join("broken.txt")
    }

    /// `classes.csv`: how each class fared in the test.
    pub fn classes(&self) -> PathBuf {
        self.path.join("classes.csv")
    }

    /// `confusion.csv`: images of each class taken for each other.
    pub fn confusion(&self) -> PathBuf {
        self.path.join("confusion.csv")
    }

    /// `confusion.svg`: the same, drawn.
    pub fn confusion_picture(&self) -> PathBuf {
        self.path.join("confusion.svg")
    }

    /// `confused.csv`: the classes that are confused most, where they are many.
    pub fn confused(&self) -> PathBuf {
        self.path.join("confused.csv")
    }

    /// `worst.csv`: the test images of the largest loss.
    pub fn worst(&self) -> PathBuf {
        self.path.join("worst.csv")
    }

    /// `worst.png`: those images.
    pub fn worst_picture(&self) -> PathBuf {
        self.path.join("worst.png")
    }

    /// `best.safetensors`: the checkpoint of the epoch with the best test accuracy.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// `epoch-0010.safetensors`: the checkpoint of an epoch.
    pub fn of_epoch(&self, epoch: usize) -> PathBuf {
        self.path.join(format!("epoch-{epoch:04}.safetensors"))
    }

    /// `checkpoint.safetensors`: what resumes the run.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }
}

/// Removes what writers that were killed left, if no other session may be writing.
fn remove_left_over_in(folder: &RunFolder) {
    if folder.lock.as_ref().is_some_and(|lock| lock.holds()) {
        remove_left_over(&folder.path);
    }
}

impl PartialEq for RunFolder {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.made) == (&other.path, other.made)
    }
}

impl Eq for RunFolder {}

/// `cifar-10-depth8-euler-auto-seed0`: what distinguishes runs most often, and what is not the method's default.
pub fn run_name(dataset: &str, config: &RunConfig) -> String {
    let RunConfig { net, depth, blocks, block, tied, step_size, sweep, seed, .. } = config;
    let net = match net {
        NetKind::Tiny => format!("depth{depth}"),
        _ => format!("staged{}", listed(blocks).replace(',', "-")),
    };
    let block = match block {
        Block::Basic => "",
        Block::Bottleneck => "-bottleneck",
        Block::PreActivation => "-pre-activation",
    };
    let tied = if *tied { "-tied" } else { "" };
    let step = match step_size {
        StepSize::OverDepth => "",
        StepSize::One => "-step1",
    };
    format!("{dataset}-{net}{block}{tied}-{}{step}-{}-seed{seed}", sweep.scheme, sweep.gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_what_runs() {
        assert_eq!(run_name("cifar-10", &RunConfig::default()), "cifar-10-depth8-euler-auto-seed0");
        let plain = RunConfig { step_size: StepSize::One, ..RunConfig::default() };
        assert_eq!(run_name("cifar-10", &plain), "cifar-10-depth8-euler-step1-auto-seed0");
        let blocks = vec![2, 8, 2];
        let staged =
            RunConfig { net: NetKind::Staged, blocks, block: Block::Bottleneck, tied: true, ..RunConfig::default() };
        assert_eq!(run_name("cifar-10", &staged), "cifar-10-staged2-8-2-bottleneck-tied-euler-auto-seed0");
    }

    #[test]
    fn runs_without_out_get_a_number_each_even_when_they_start_together() {
        let root = tempfile::tempdir().unwrap();
        let runs = root.path().join("runs");
        let claim = || RunFolder::claim_numbered(&runs, "a").unwrap().path().to_path_buf();
        assert_eq!(claim(), runs.join("a"));
        let mut claimed = std::thread::scope(|s| {
            let threads: Vec<_> = (0..8).map(|_| s.spawn(claim)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        claimed.sort();
        let expected: Vec<_> = (2..10).map(|n| runs.join(format!("a-{n}"))).collect();
        assert_eq!(claimed, expected);
    }

    #[test]
    fn out_is_made_with_its_parents_and_may_exist_empty() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("x/y");
        let folder = RunFolder::claim(Some(&out), "unused").unwrap();
        assert!(out.is_dir());
        assert!(RunFolder::claim(Some(&out), "unused").unwrap_err().to_string().contains("another session"));
        let free = folder.clone().released();
        drop(folder);
        let folder = free;
        let again = RunFolder::claim(Some(&out), "unused").unwrap();
        assert_eq!(again.path(), folder.path());
        again.remove_if_left_empty();
        drop(again);
        assert!(out.is_dir(), "a folder that was there before stays");
        assert_eq!(folder.summary(), out.join("summary.json"));
        fs::write(folder.summary(), "").unwrap();
        folder.remove_if_left_empty();
        assert!(folder.summary().exists());
        fs::remove_file(folder.summary()).unwrap();
        folder.remove_if_left_empty();
        assert!(!out.exists());
    }

    #[test]
    fn out_with_a_run_or_a_file_in_its_place_is_refused_and_untouched() {
        for name in ["config.toml", "checkpoint.safetensors", "metrics.csv"] {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join(name), "former").unwrap();
            let error = RunFolder::claim(Some(root.path()), "unused").unwrap_err();
            assert!(matches!(error, Error::Usage(_)));
            assert!(error.to_string().contains(&format!("already holds a run ({name})")), "{error}");
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        }
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(RunFolder::claim(Some(&file), "unused").unwrap_err().to_string().contains("is a file"));
    }

    #[test]
    fn resume_needs_a_checkpoint() {
        let root = tempfile::tempdir().unwrap();
        let message = |path: &Path| RunFolder::open(path).unwrap_err().to_string();
        assert!(message(&root.path().join("none")).contains("is not a folder"));
        assert!(message(root.path()).contains("holds no checkpoint.safetensors"));
        fs::write(root.path().join("checkpoint.safetensors"), "").unwrap();
        let held = RunFolder::open(root.path()).unwrap();
        let error = RunFolder::open(root.path()).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains("another session is at work in this folder"), "{error}");
        assert!(RunFolder::look(root.path()).is_ok(), "who only reads does no harm");
        drop(held);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "no lock is left");
        fs::write(root.path().join("checkpoint.safetensors.12-3.tmp"), "half").unwrap();
        assert!(RunFolder::open(root.path()).is_ok());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "what a killed session left is gone");
    }
}
