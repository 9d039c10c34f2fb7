//! Sessions and signals: two sessions of one run, what a killed one leaves, what is ignored at the start, and a system that refuses locks,
//! syncs or threads.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::cli::{Ended, Place, TINY};
use crate::resume::wait_for;
use rewind_train::checkpoint::Checkpoint;

const CHECKPOINT: &str = "out/checkpoint.safetensors";
const IN_USE: &str = "another session is at work in this folder";

fn start(place: &Place, line: &str) -> Child {
    place.command(line).spawn().expect("it starts")
}

#[cfg(unix)]
fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.expect("kill can be run").success());
}

#[test]
#[cfg(unix)]
fn a_second_session_of_a_run_is_refused_and_may_look() {
    let place = Place::tiny();
    let line = format!("{TINY} --epochs 5000 --out out");
    let first = start(&place, &line);
    wait_for(&place, "out/summary.json");
    for line in ["--resume out", "--resume out --max-steps 1000000"] {
        let second = place.run(line);
        assert_eq!(second.code, Some(1), "{second}");
        assert!(second.error().contains(IN_USE) && second.error().starts_with("out: "), "{second}");
    }
    place.succeed("--resume out --eval-only");
    place.succeed("--resume out --plan");
    send("-INT", &first);
    let ended = Ended::of(&line, first);
    assert_eq!(ended.code, Some(130), "{ended}");
    let steps = Checkpoint::open(&place.path(CHECKPOINT)).expect("whole").state().progress.global_step;
    place.succeed(&format!("--resume out --max-steps {}", steps + 1));
    assert!(place.names("out").iter().all(|name| !name.starts_with('.') && !name.ends_with(".tmp")));
}

#[test]
#[cfg(unix)]
fn a_killed_session_leaves_no_lock_that_counts() {
    let place = Place::tiny();
    let line = format!("{TINY} --epochs 5000 --out out");
    let mut first = start(&place, &line);
    wait_for(&place, "out/summary.json");
    first.kill().expect("it can be killed");
    Ended::of(&line, first);
    fs::write(place.path("out/metrics.csv.123-4.tmp"), "half of a fi").unwrap();
    let steps = Checkpoint::open(&place.path(CHECKPOINT)).expect("whole").state().progress.global_step;
    place.succeed(&format!("--resume out --max-steps {}", steps + 1));
    assert!(place.names("out").iter().all(|name| !name.starts_with('.') && !name.ends_with(".tmp")));
}

#[test]
#[cfg(unix)]
fn of_sessions_that_resume_at_the_same_time_one_goes_on() {
    let place = Place::tiny();
    place.succeed(&format!("{TINY} --epochs 5000 --max-steps 2 --out out"));
    for _ in 0..4 {
        let mut both = [start(&place, "--resume out"), start(&place, "--resume out --threads 1")];
        // the one that is refused ends by itself
        let refused = loop {
            if let Some(k) = both.iter_mut().position(|child| child.try_wait().expect("it can be asked").is_some()) {
                break k;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        let [a, b] = both;
        let (refused, other) = if refused == 0 { (a, b) } else { (b, a) };
        let refused = Ended::of("--resume out", refused);
        assert!(refused.code == Some(1) && refused.error().contains(IN_USE), "{refused}");
        // not before it watches for signals: until then one ends it without a word, which loses nothing either
        std::thread::sleep(std::time::Duration::from_millis(300));
        send("-INT", &other);
        let other = Ended::of("--resume out", other);
        assert!(other.code.is_none_or(|code| code == 130), "{other}");
        Checkpoint::open(&place.path(CHECKPOINT)).expect("whole");
    }
}

#[test]
fn of_new_runs_into_one_folder_one_gets_it() {
    let place = Place::tiny();
    for round in 0..4 {
        let line = format!("{TINY} --max-steps 3 --out out{round}");
        let both = [start(&place, &line), start(&place, &line)].map(|child| Ended::of(&line, child));
        let done = both.iter().filter(|ended| ended.code == Some(0)).count();
        assert_eq!(done, 1, "{}\n{}", both[0], both[1]);
        let refused = both.iter().find(|ended| ended.code != Some(0)).expect("the other");
        let error = refused.error();
        assert!(error.contains(IN_USE) || error.contains("already holds a run"), "{refused}");
        assert_eq!(place.summary(&format!("out{round}"))["steps"], 3);
    }
}

#[test]
#[cfg(unix)]
fn a_signal_that_is_ignored_at_the_start_stays_ignored() {
    let place = Place::tiny();
    for (trap, signal) in [("HUP", "-HUP"), ("INT", "-INT")] {
        let name = trap.to_lowercase();
        let line = format!("{TINY} --epochs 4 --out {name}");
        let program = crate::cli::program(option_env!("CARGO_BIN_EXE_train_cifar"), "train_cifar");
        let mut shell = place.command_of("sh".as_ref(), "");
        shell.args(["-c", &format!("trap '' {trap}; exec {} {line}", program.display())]);
        let child = shell.spawn().expect("sh starts");
        wait_for(&place, &format!("{name}/checkpoint.safetensors"));
        send(signal, &child);
        let ended = Ended::of(&line, child);
        assert_eq!(ended.code, Some(0), "{ended}");
        assert_eq!(place.summary(&name)["epochs"], 4);
    }
}

#[test]
#[cfg(unix)]
fn each_signal_saves_and_has_its_exit_code() {
    let place = Place::tiny();
    for (signal, code) in [("-TERM", 143), ("-HUP", 129), ("-INT", 130)] {
        let line = format!("{TINY} --epochs 5000 --out out{code}");
        let child = start(&place, &line);
        wait_for(&place, &format!("out{code}/summary.json"));
        send(signal, &child);
        let ended = Ended::of(&line, child);
        assert_eq!(ended.code, Some(code), "{ended}");
        assert!(ended.stderr.ends_with(&format!("stopped; continue with --resume out{code}\n")), "{ended}");
        let steps = place.summary(&format!("out{code}"))["steps"].as_u64().expect("steps");
        place.succeed(&format!("--resume out{code} --max-steps {}", steps + 1));
    }
}

/// Runs the program with a system call that fails; none where that cannot be done here.
#[cfg(target_os = "linux")]
fn with_failing(place: &Place, call: &str, error: &str, line: &str) -> Option<Ended> {
    let can = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("strace does not run here: the case of a refused {call} did not run");
        return None;
    }
    let program = crate::cli::program(option_env!("CARGO_BIN_EXE_train_cifar"), "train_cifar");
    let inject = format!("inject={call}:error={error}");
    let mut strace = place.command_of("strace".as_ref(), "");
    strace.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]).arg(program);
    Some(Ended::of(line, strace.args(line.split_whitespace()).spawn().expect("strace starts")))
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_system_without_locks_or_syncs_is_told_of_once() {
    let place = Place::tiny();
    for (name, call, error, notice) in [
        ("locks", "flock", "ENOLCK", "locks cannot be locked (No locks available"),
        ("none", "flock", "EOPNOTSUPP", "none cannot be locked ("),
        ("syncs", "fsync", "EINVAL", "the file system of syncs does not sync"),
    ] {
        let Some(ended) = with_failing(&place, call, error, &format!("{TINY} --epochs 2 --out {name}")) else { return };
        assert_eq!(ended.code, Some(0), "{ended}");
        assert_eq!(ended.stderr.matches(notice).count(), 1, "{ended}");
        assert!(place.names(name).iter().all(|name| !name.starts_with('.') && !name.ends_with(".tmp")), "{ended}");
        Checkpoint::open(&place.path(name).join("checkpoint.safetensors")).expect("whole");
    }
    // a disk that fails is another matter
    let Some(ended) = with_failing(&place, "fsync", "EIO", &format!("{TINY} --epochs 2 --out broken")) else { return };
    assert!(ended.code == Some(1) && ended.error().contains("cannot write broken/checkpoint.safetensors"), "{ended}");
    assert!(!place.path("broken").exists(), "a folder without a run is removed");
}

#[test]
#[cfg(target_os = "linux")]
fn threads_that_cannot_be_made_are_one_sentence() {
    let place = Place::tiny();
    let line = format!("{TINY} --max-steps 1 --out out");
    let Some(ended) = with_failing(&place, "clone3,clone", "EAGAIN", &line) else { return };
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.error().contains("cannot start the threads") && ended.error().contains("--threads"), "{ended}");
    assert!(!place.path("out").exists());
}
