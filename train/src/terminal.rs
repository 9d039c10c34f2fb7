//! What the binaries share in talking to their user: results, refusals, Ctrl-C.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, Parser, ValueEnum};
use clap_complete::Shell;
use rewind::error::Error;

use crate::{cli, settings};

/// The shell's convention for a program that Ctrl-C stopped.
pub const INTERRUPTED: u8 = 130;

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
    let words: Vec<String> = std::env::args().skip(1).take(3).collect();
    if let Some(text) = generated::<C>(&words) {
        return match text.and_then(|text| say(&text)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = explain(&error);
                ExitCode::from(error.downcast_ref::<Error>().map_or(1, Error::exit_code))
            }
        };
    }
    let mut command = C::command().styles(STYLES);
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
fn generated<C: CommandFactory>(words: &[String]) -> Option<anyhow::Result<String>> {
    let mut command = C::command();
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
                Error::OutOfMemory { .. } | Error::NotFinite { .. } | Error::Hopeless { .. } | Error::Device { .. } => {
                    settings::with_flags(&own.to_string())
                }
                // in the flags' words already, or of paths, which are the user's
                _ => own.to_string(),
            }
        }
        None => format!("{error:#}"),
    };
    // plain in a pipe and where NO_COLOR is set
    writeln!(stderr, "{} {sentence}", console::style("error:").red().bold().for_stderr())
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

/// Has Ctrl-C raise `stop`; a second one ends the process at once, without waiting for what was begun.
///
/// # Errors
/// If the system does not let it.
pub fn watch_for_interrupt(stop: &'static AtomicBool) -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    })
    .context("cannot watch for Ctrl-C")
}
