//! The folder of a run: claimed when the run starts, found again when it resumes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rewind::error::{Error, Result};
use rewind::scheme::StepSize;

use crate::config::{Block, NetKind, RunConfig, listed};

/// The folder under which runs without `--out` land.
const RUNS: &str = "runs";

/// A folder that belongs to one run, and the names of what the run leaves in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
    /// Whether this program made the folder.
    made: bool,
}

impl RunFolder {
    /// Claims a folder for a new run: `out` if given, else the first free one of `runs/<name>`, `runs/<name>-2`, ...
    ///
    /// An `out` that exists may hold anything but another run.
    ///
    /// # Errors
    /// [`Error::Usage`] if `out` is a file or holds a run, [`Error::Io`] if the folder cannot be made.
    pub fn claim(out: Option<&Path>, name: &str) -> Result<Self> {
        match out {
            Some(path) => Self::claim_exactly(path),
            None => Self::claim_numbered(Path::new(RUNS), name),
        }
    }

    fn claim_exactly(path: &Path) -> Result<Self> {
        let folder = Self { path: path.into(), made: !path.exists() };
        if path.exists() && !path.is_dir() {
            return Err(Error::Usage(format!("--out {} is a file: name a folder", path.display())));
        }
        let files = [folder.config(), folder.checkpoint(), folder.metrics()];
        if let Some(file) = files.iter().filter(|f| f.exists()).find_map(|f| f.file_name()) {
            return Err(Error::Usage(format!(
                "--out {} already holds a run ({}): name another folder, or continue that run with --resume",
                path.display(),
                file.display()
            )));
        }
        fs::create_dir_all(path).map_err(Error::io("create the folder", path))?;
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
        Ok(Self { path, made: true })
    }

    /// The folder of a run that exists, for `--resume`.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no folder or holds no checkpoint.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Self { path: path.into(), made: false };
        if !path.is_dir() {
            return Err(Error::Usage(format!("--resume {} is not a folder: name the folder of a run", path.display())));
        }
        if !folder.checkpoint().exists() {
            return Err(Error::Usage(format!(
                "--resume {} holds no checkpoint.safetensors: name a run that finished an epoch or was stopped by Ctrl-C",
                path.display()
            )));
        }
        Ok(folder)
    }

    /// Removes a folder that was made for a run which then could not write its first file.
    pub fn remove_if_left_empty(&self) {
        if self.made {
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

    /// `curves.svg`: the metrics drawn.
    pub fn curves(&self) -> PathBuf {
        self.path.join("curves.svg")
    }

    /// `summary.json`: how it ended.
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// `checkpoint.safetensors`: what resumes the run.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
    }
}

/// `cifar-10-depth8-euler-auto-seed0`: what distinguishes runs most often, and what is not the method's default.
pub fn run_name(dataset: &str, config: &RunConfig) -> String {
    let RunConfig { net, depth, blocks, block, tied, step_size, sweep, seed, .. } = config;
    let net = match net {
        NetKind::Tiny => format!("depth{depth}"),
        NetKind::Staged => format!("staged{}", listed(blocks).replace(',', "-")),
    };
    let block = match block {
        Block::Basic => "",
        Block::Bottleneck => "-bottleneck",
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
        let again = RunFolder::claim(Some(&out), "unused").unwrap();
        assert_eq!(again.path(), folder.path());
        again.remove_if_left_empty();
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
        assert!(RunFolder::open(root.path()).is_ok());
    }
}
