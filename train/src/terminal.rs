//! What the binaries share in talking to their user: results, refusals, Ctrl-C.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Command, Parser, ValueEnum};
use clap_complete::Shell;
use rewind::error::Error;

use crate::{cli, settings, signals};

/// The colours of a program's help, on a terminal that has them; none in a pipe or where NO_COLOR is set.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Parses the command line and starts. What fails is one sentence on standard error; a request that makes no sense exits with
/// 2, what failed later with 1.
///
/// Besides what its help lists, every program prints completions for a shell (`PROGRAM completions bash`) and its manual page (`PROGRAM
/// man`).
pub fn run<C: Parser>(start: impl FnOnce(&C) -> anyhow::Result<ExitCode>) -> ExitCode {
    run_as(|command| command, start)
}

/// The same by another name and with other words in its help.
pub fn run_as<C: Parser>(
    dressed: impl FnOnce(Command) -> Command,
    start: impl FnOnce(&C) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    let command = dressed(C::command());
    let words: Vec<String> = std::env::args().skip(1).take(3).collect();
    if let Some(text) = generated(command.clone(), &words) {
        return match text.and_then(|text| say(&text)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = explain(&error);
                ExitCode::from(error.downcast_ref::<Error>().map_or(1, Error::exit_code))
            }
        };
    }
    let mut command = command.styles(STYLES);
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let cli = match parsed.and_then(|matches| C::from_arg_matches(&matches).map_err(|e| e.format(&mut command))) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let _ = explain(&Error::Usage(cli::sentence(&error)).into());
            return ExitCode::from(2);
        }
        // --help and --version come this way
        Err(text) => text.exit(),
    };
    match start(&cli) {
        Ok(code) => code,
        Err(error) => {
            // a terminal that is gone is no reason to panic
            let _ = explain(&error);
            ExitCode::from(error.downcast_ref::<Error>().map_or(1, Error::exit_code))
        }
    }
}

/// What `completions SHELL`, `man` and `man SUBCOMMAND` print; none for other words.
fn generated(mut command: Command, words: &[String]) -> Option<anyhow::Result<String>> {
    let mut text = Vec::new();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["man"] => {
            if let Err(error) = clap_mangen::Man::new(command).render(&mut text) {
                return Some(Err(error.into()));
            }
        }
        ["man", of] => {
            // what all subcommands share is handed down to them
            command.build();
            let Some(of) = command.find_subcommand(of) else {
                let known: Vec<_> = command.get_subcommands().map(|c| c.get_name()).filter(|n| *n != "help").collect();
                let name = command.get_name();
                let sentence = match known.is_empty() {
                    true => format!("{name} has one manual page and no {of:?}: leave that word out"),
                    false => format!("{name} has no subcommand {of:?}: ask for the page of {}", known.join(", ")),
                };
                return Some(Err(Error::Usage(sentence).into()));
            };
            if let Err(error) = clap_mangen::Man::new(of.clone()).render(&mut text) {
                return Some(Err(error.into()));
            }
        }
        ["completions", shell] => match Shell::from_str(shell, true) {
            Ok(shell) => {
                let name = command.get_name().to_string();
                clap_complete::generate(shell, &mut command, name, &mut text);
            }
            Err(_) => {
                let shells: Vec<_> = Shell::value_variants().iter().map(Shell::to_string).collect();
                let sentence =
                    format!("{shell:?} is no shell that completions are made for: give one of {}", shells.join(", "));
                return Some(Err(Error::Usage(sentence).into()));
            }
        },
        _ => return None,
    }
    Some(String::from_utf8(text).context("the text is no UTF-8"))
}

/// Says what went wrong with one thing of several, while the others go on.
pub(crate) fn complain(error: &anyhow::Error) {
    // a terminal that is gone is no reason to stop
    let _ = explain(error);
}

/// One sentence on standard error; before it the table of a plan that is too large.
fn explain(error: &anyhow::Error) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    let sentence = match error.downcast_ref::<Error>() {
        // the library's sentences hold their cause already
        Some(own) => {
            if let Error::PlanOverLimit { table, .. } = own {
                write!(stderr, "{table}")?;
            }
            match own {
                Error::OutOfMemory { .. }
                | Error::NoRoomToRecord
                | Error::NotFinite { .. }
                | Error::Hopeless { .. }
                | Error::Device { .. } => settings::with_flags(&own.to_string()),
                // in the flags' words already, or of paths, which are the user's
                _ => own.to_string(),
            }
        }
        None => format!("{error:#}"),
    };
    let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let sentence = shortened(sentence, typed);
    // plain in a pipe and where NO_COLOR is set
    writeln!(stderr, "{} {sentence}", console::style("error:").red().bold().for_stderr())
}

/// From so many characters on a word of a sentence is shown shortened: no path that a system opens is as long in any of its parts.
const LONG: usize = 256;
/// So many of its first characters are shown.
const SHOWN: usize = 80;

/// A sentence with its long words, and those of the `typed` ones that it repeats, cut short: what a script got wrong may be a whole file.
fn shortened(mut sentence: String, typed: impl Iterator<Item = String>) -> String {
    if sentence.chars().count() <= LONG {
        return sentence;
    }
    let short = |word: &str| {
        let shown: String = word.chars().take(SHOWN).collect();
        format!("{shown}... ({} characters)", word.chars().count())
    };
    for word in typed {
        let value =
            word.split_once('=').filter(|(flag, _)| flag.starts_with('-')).map_or(&word[..], |(_, value)| value);
        if value.chars().count() > LONG {
            sentence = sentence.replace(value, &short(value));
        }
    }
    let cut = |word: &str| if word.chars().count() > LONG { short(word) } else { word.into() };
    sentence.split(' ').map(cut).collect::<Vec<_>>().join(" ")
}

/// Prints results. A reader that closed the pipe has seen enough.
///
/// # Errors
/// If standard output cannot be written for another reason.
pub fn say(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e).context("cannot write to standard output"),
        _ => Ok(()),
    }
}

/// Has Ctrl-C, SIGTERM and SIGHUP raise `stop`, unless they were ignored when the program started; a second one ends the process at once,
/// without waiting for what was begun.
///
/// # Errors
/// If the system does not let it.
pub fn watch_for_interrupt(stop: &'static AtomicBool) -> anyhow::Result<()> {
    signals::watch(stop).context("cannot watch for Ctrl-C")
}

/// The exit code of a run that was stopped, by the shell's convention: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
pub fn stopped() -> ExitCode {
    ExitCode::from(signals::exit_code())
}

/// Whether a process of ours that ended with this code was stopped by a signal, as [`stopped`] tells.
pub fn was_stopped(code: Option<i32>) -> bool {
    matches!(code, Some(129 | 130 | 143))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_shown_by_their_start_and_their_length() {
        let of = |sentence: &str, typed: &[&str]| shortened(sentence.into(), typed.iter().map(|word| word.to_string()));
        let digits = "7".repeat(5000);
        let cut = format!("{}... (5000 characters)", "7".repeat(80));
        assert_eq!(of(&format!("--depth {digits} is more"), &[]), format!("--depth {cut} is more"));
        assert_eq!(of("a path/of/usual/length stays", &[]), "a path/of/usual/length stays");
        // of what was typed, spaces are a part, and so is nothing before `=`
        let spaced = "a b".repeat(100);
        let expected = format!("cannot read {}... (300 characters): no", &spaced[..80]);
        assert_eq!(of(&format!("cannot read {spaced}: no"), &[&spaced]), expected);
        assert_eq!(of(&format!("cannot read {spaced}: no"), &[&format!("--data={spaced}")]), expected);
        // characters, not bytes
        let umlauts = "ä".repeat(300);
        assert_eq!(of(&format!("no {umlauts}"), &[]), format!("no {}... (300 characters)", "ä".repeat(80)));
        let many = "short words ".repeat(100);
        assert_eq!(of(&many, &[]), many);
    }
}
