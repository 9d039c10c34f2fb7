//! Runs `train_cifar` as a person does: in a folder, with a command line, looking at what it printed and left.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A small net on the images of [`Place::tiny`], 20 steps an epoch.
pub const TINY: &str = "--data digits --depth 2 --channels 4 --batch 100";

/// The program `name`: the one that cargo built for this package's tests, or else the one beside this test, which a build of the workspace
/// leaves there.
pub fn program(of_this_package: Option<&str>, name: &str) -> PathBuf {
    if let Some(path) = of_this_package {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(Path::parent).expect("a test lies in target/PROFILE/deps");
    let path = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is not there: cargo build --workspace makes it", path.display());
    path
}

/// A folder to run in.
pub struct Place(TempDir);

impl Place {
    /// An empty folder.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A folder with a data set `digits` that the emulator is soon through with: see [`Place::digits`].
    #[allow(dead_code)]
    pub fn with_digits(images: [u32; 2]) -> Self {
        let place = Self::new();
        place.digits("digits", images);
        place
    }

    /// A folder for runs of [`TINY`]: 2,000 images to train on and 500 to test on.
    pub fn tiny() -> Self {
        Self::with_digits([2000, 500])
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a data set of so many training and test images of 28 x 28, in MNIST's format, into the folder `name`: one that takes as little
    /// time as a test has.
    #[allow(dead_code)]
    pub fn digits(&self, name: &str, [train, test]: [u32; 2]) {
        fs::create_dir(self.path(name)).expect("a folder");
        for (part, n) in [("train", train), ("t10k", test)] {
            let images = [2051, n, 28, 28].map(u32::to_be_bytes).concat();
            // a bright stripe tells an image's class, grey noise the image
            let pixel = |i: u32| {
                let (image, row) = (i / 784, i % 784 / 28);
                if row / 2 == 2 + image % 10 { 255 } else { (i * 13 + image) as u8 / 2 }
            };
            let pixels = (0..n * 28 * 28).map(pixel);
            let labels = [2049, n].map(u32::to_be_bytes).concat();
            let write = |what: &str, head: Vec<u8>, body: Vec<u8>| {
                fs::write(self.path(&format!("{name}/{part}-{what}-ubyte")), [head, body].concat()).expect("a file");
            };
            write("images-idx3", images, pixels.collect());
            write("labels-idx1", labels, (0..n).map(|i| (i % 10) as u8).collect());
        }
    }

    /// `train_cifar` with the words of `line`, to be started here.
    pub fn command(&self, line: &str) -> Command {
        self.command_of(&program(option_env!("CARGO_BIN_EXE_train_cifar"), "train_cifar"), line)
    }

    /// As [`Place::command`], for another program.
    pub fn command_of(&self, program: &Path, line: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).args(line.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, line: &str) -> Ended {
        Ended::of(line, self.command(line).spawn().expect("train_cifar starts"))
    }

    /// Runs `paper` to its end.
    pub fn paper(&self, line: &str) -> Ended {
        Ended::of(
            line,
            self.command_of(&program(option_env!("CARGO_BIN_EXE_paper"), "paper"), line).spawn().expect("paper starts"),
        )
    }

    /// As [`Place::run`], and it must succeed.
    pub fn succeed(&self, line: &str) -> Ended {
        let ended = self.run(line);
        assert_eq!(ended.code, Some(0), "{ended}");
        ended
    }

    /// Every file below, with its bytes; of a large one only the length. Folders end in `/`.
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        collect(self.0.path(), &mut all);
        all
    }

    /// The names in a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).expect(folder);
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A file as text.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect(name)
    }

    /// summary.json of a run folder.
    pub fn summary(&self, folder: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(&format!("{folder}/summary.json"))).expect("JSON")
    }

    /// Every tensor of a run folder's checkpoint by its name: weights, running statistics, velocities.
    pub fn tensors(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let bytes = fs::read(self.path(folder).join("checkpoint.safetensors")).expect(folder);
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
    }

    /// Fails unless two run folders hold the same bits, checkpoint and metrics, but for what may vary.
    pub fn assert_same_run(&self, a: &str, b: &str) {
        self.assert_same_weights(a, b);
        assert_eq!(self.rows(a), self.rows(b), "metrics.csv of {a} and {b}");
    }

    /// Fails unless the checkpoints of two run folders hold the same tensors, bit for bit.
    pub fn assert_same_weights(&self, a: &str, b: &str) {
        let (left, right) = (self.tensors(a), self.tensors(b));
        assert!(left.keys().eq(right.keys()), "{a} and {b} hold other tensors");
        for (name, bytes) in &left {
            assert!(bytes == &right[name], "{name} differs between {a} and {b}");
        }
    }

    /// The rows of metrics.csv without the columns that a clock decides, or, as the memory, the number of threads.
    pub fn rows(&self, folder: &str) -> Vec<String> {
        const VARY: [&str; 4] = ["epoch_seconds", "images_per_second", "activation_peak_bytes", "peak_bytes"];
        let text = self.text(&format!("{folder}/metrics.csv"));
        let header: Vec<&str> = text.lines().next().expect("a header").split(',').collect();
        assert!(VARY.iter().all(|name| header.contains(name)), "{header:?}");
        let kept = |line: &str| {
            let fields = header.iter().zip(line.split(',')).filter(|(name, _)| !VARY.contains(name));
            fields.map(|(_, field)| field).collect::<Vec<_>>().join(",")
        };
        text.lines().skip(1).map(kept).collect()
    }
}

fn collect(folder: &Path, all: &mut BTreeMap<PathBuf, Vec<u8>>) {
    const LARGE: u64 = 1 << 22;
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let metadata = path.symlink_metadata().expect("readable");
        if metadata.is_dir() {
            collect(&path, all);
            all.insert(path.join(""), vec![]);
        } else if metadata.is_file() && metadata.len() < LARGE {
            let bytes = fs::read(&path).expect("readable");
            all.insert(path, bytes);
        } else {
            all.insert(path, metadata.len().to_le_bytes().to_vec());
        }
    }
}

/// How `train_cifar` ended.
pub struct Ended {
    /// The command line.
    pub line: String,
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Waits for a process.
    pub fn of(line: &str, child: Child) -> Self {
        let output = child.wait_with_output().expect("the process can be waited for");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { line: line.into(), code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The one line that starts with `error: `, without that; all others may be notices or a table.
    pub fn error(&self) -> &str {
        let mut errors = self.stderr.lines().filter_map(|line| line.strip_prefix("error: "));
        let first = errors.next().unwrap_or_else(|| panic!("no error line: {self}"));
        assert!(errors.next().is_none(), "two error lines: {self}");
        assert!(self.stderr.ends_with(&format!("\nerror: {first}\n")) || self.stderr == format!("error: {first}\n"));
        assert!(!self.stderr.contains("panicked"), "{self}");
        first
    }

    /// What follows `name` on its line of the final table.
    pub fn in_table(&self, name: &str) -> &str {
        let line = self.stdout.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name:?} in the table: {self}")).trim()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "train_cifar {line} ended with {code:?}\n-- stdout\n{stdout}\n-- stderr\n{stderr}")
    }
}

/// Interrupts a program as Ctrl-C does.
#[cfg(unix)]
#[allow(dead_code, reason = "not every test that runs a program interrupts it")]
pub fn interrupt(child: &std::process::Child) {
    // what a process ignores, so do all that it starts; a script's background jobs ignore Ctrl-C
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    const SIGINT: u64 = 1 << 1;
    assert!(
        ignored.unwrap_or(0) & SIGINT == 0,
        "Ctrl-C is ignored where these tests were started: start them in the foreground"
    );
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    status.expect("kill can be run");
}
