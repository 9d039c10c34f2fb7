//! How a run goes, while it goes: a bar on a terminal, plain lines elsewhere, nothing when quiet.
//!
//! [`Log::steps`] may be called every step and must cost nothing: until it is time to draw it compares two clock readings, and
//! plain lines are composed in a buffer that is kept.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};

use super::events::{EpochExtent, Event, Listener, StepsReport};
use super::pace::{Pace, TimeLeft};
use super::progress::EpochRow;

/// Time between two drawings of the bar.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// A bar that is redrawn in place.
    Bar,
    /// A line now and then, and one per epoch.
    Lines,
    /// Nothing.
    Quiet,
}

impl LogKind {
    /// A bar if standard error is a terminal, else lines; nothing if `quiet`.
    pub fn detect(quiet: bool) -> Self {
        match (quiet, io::stderr().is_terminal()) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

/// Where progress goes. What cannot be written is dropped: a closed pipe does not end a training run.
pub struct Log {
    kind: LogKind,
    lines: Box<dyn Write + Send>,
    bar: Option<ProgressBar>,
    every: Duration,
    next: Instant,
    text: String,
    extent: EpochExtent,
    run: Pace,
    epoch: Pace,
}

impl Log {
    /// A log on standard error.
    pub fn new(kind: LogKind) -> Self {
        let every = if kind == LogKind::Bar { BAR_EVERY } else { LINE_EVERY };
        Self::to(kind, Box::new(io::stderr()), every)
    }

    fn to(kind: LogKind, lines: Box<dyn Write + Send>, every: Duration) -> Self {
        Self {
            kind,
            lines,
            bar: None,
            every,
            next: Instant::now() + every,
            text: String::with_capacity(256),
            extent: EpochExtent { epoch: 0, epochs: 0, done: 0, steps: 0, steps_after: 0 },
            run: Pace::start(),
            epoch: Pace::start(),
        }
    }

    /// Says something once, above the bar if there is one.
    pub fn note(&mut self, text: &str) {
        self.text.clear();
        self.text.push_str(text);
        self.line();
    }

    /// An epoch starts, or goes on.
    pub fn epoch_start(&mut self, extent: EpochExtent) {
        if self.extent.epoch == 0 {
            self.run = Pace::start();
        }
        self.extent = extent;
        self.epoch = Pace::start();
        if self.kind == LogKind::Bar {
            let style = ProgressStyle::with_template("{prefix} {bar:20} {pos}/{len} {msg}")
                .expect("the template is fixed and well formed")
                .progress_chars("━╸ ");
            // a new bar an epoch: changed one by one, the parts of an old one would show half of each epoch
            self.finish();
            let bar = ProgressBar::new(extent.steps as u64).with_style(style).with_position(extent.done as u64);
            self.bar = Some(bar.with_prefix(format!("epoch {}/{}", extent.epoch, extent.epochs)));
        }
    }

    /// Steps are done. Allocates nothing unless it is time to draw.
    pub fn steps(&mut self, report: &StepsReport) {
        self.run.add(report.steps, report.images);
        self.epoch.add(report.steps, report.images);
        if self.kind == LogKind::Quiet {
            return;
        }
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + self.every;
        let EpochExtent { epoch, epochs, steps, steps_after, .. } = self.extent;
        let left = steps.saturating_sub(report.step) as u64;
        let times = TimeLeft { epoch: self.epoch.time_for(left, now), run: self.run.time_for(left + steps_after, now) };
        let images_per_second = self.epoch.images_per_second(now);
        let StepsReport { step, loss, accuracy, .. } = *report;
        self.text.clear();
        let mut compose = |args: fmt::Arguments<'_>| self.text.write_fmt(args).expect("a string takes any text");
        match &self.bar {
            Some(_) => compose(format_args!("{times}, {images_per_second:.0} images/s\n")),
            None => {
                compose(format_args!("epoch {epoch}/{epochs}, step {step}/{steps}, {times}: "));
                compose(format_args!("{images_per_second:.0} images/s, "));
            }
        }
        compose(format_args!("loss {loss:.4}, accuracy {:.1} %", 100.0 * accuracy));
        if let Some(drift) = report.drift {
            compose(format_args!(", drift {drift:.1e}"));
        }
        if let Some(error) = report.local_error {
            compose(format_args!(", local error {error:.1e}"));
        }
        compose(format_args!(", activations {}", Mib(report.activation_peak_bytes)));
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.text.clone());
                bar.set_position(step as u64);
            }
            None => self.line(),
        }
    }

    /// An epoch is done and tested.
    pub fn epoch_end(&mut self, row: &EpochRow) {
        self.text.clear();
        let epoch = EpochLine { row, epochs: self.extent.epochs };
        write!(self.text, "{epoch}").expect("a string takes any text");
        self.line();
        self.next = Instant::now() + self.every;
    }

    /// Clears the bar, so that what is printed next has the terminal for itself.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Writes `self.text` as a line.
    fn line(&mut self) {
        if self.kind == LogKind::Quiet {
            return;
        }
        let size = if self.kind == LogKind::Bar { Term::stderr().size_checked() } else { None };
        if let Some((_, width)) = size {
            wrap(&mut self.text, usize::from(width));
        }
        self.text.push('\n');
        let (lines, text) = (&mut self.lines, &self.text);
        let mut write = || lines.write_all(text.as_bytes()).and_then(|()| lines.flush());
        // What cannot be written is dropped, see `Log`.
        let _ = match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
    }
}

impl Listener for Log {
    fn hear(&mut self, event: &Event<'_>) {
        match event {
            Event::Device(text) | Event::Note(text) | Event::Drift { sentence: text, .. } => self.note(text),
            Event::EpochStart(extent) => self.epoch_start(*extent),
            Event::Steps(report) => self.steps(report),
            Event::Epoch(row) => self.epoch_end(row),
            Event::Planned { .. } | Event::Checkpoint(_) => {}
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Breaks a line between words where it would pass `width` columns; what follows a break is indented.
fn wrap(text: &mut String, width: usize) {
    const INDENT: &str = "\n    ";
    let mut start = 0;
    while let Some((end, _)) = text[start..].char_indices().nth(width) {
        let line = &text[start..start + end];
        // a word that fills a line of its own is left to the terminal
        let Some(space) = line.rfind(' ').filter(|space| !line[..*space].trim().is_empty()) else { return };
        text.replace_range(start + space..=start + space, INDENT);
        start += space + 1;
    }
}

/// Bytes as MiB.
struct Mib(u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / f64::from(1 << 20))
    }
}

/// A row of metrics.csv as a sentence that fits 120 columns: losses, accuracies, and the activations' bytes at peak.
struct EpochLine<'a> {
    row: &'a EpochRow,
    epochs: usize,
}

impl fmt::Display for EpochLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EpochRow { epoch, train_loss, train_accuracy, test_loss, test_accuracy, .. } = *self.row;
        let EpochRow { learning_rate, epoch_seconds, images_per_second, drift, local_error, .. } = *self.row;
        let EpochRow { activation_peak_bytes, .. } = *self.row;
        write!(f, "epoch {epoch}/{}: ", self.epochs)?;
        write!(f, "train loss {train_loss:.4}, {:.2} %; ", 100.0 * train_accuracy)?;
        // as many digits as a person reads: on a cosine 0.075 may be 0.07500000000000001
        let lr = learning_rate as f32;
        write!(f, "test loss {test_loss:.4}, {:.2} %; lr {lr}, ", 100.0 * test_accuracy)?;
        if let Some(drift) = drift {
            write!(f, "drift {drift:.1e}, ")?;
        }
        if let Some(error) = local_error {
            write!(f, "local {error:.1e}, ")?;
        }
        write!(f, "{epoch_seconds:.1} s, {images_per_second:.0} images/s, {}", Mib(activation_peak_bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::progress::tests::row;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const EXTENT: EpochExtent = EpochExtent { epoch: 2, epochs: 3, done: 0, steps: 100, steps_after: 100 };

    fn report(step: usize, drift: Option<f64>) -> StepsReport {
        StepsReport {
            step,
            steps: 1,
            images: 256,
            loss: 1.5,
            accuracy: 0.25,
            drift,
            local_error: drift,
            activation_peak_bytes: 3 << 19,
        }
    }

    fn written(kind: LogKind, every: Duration, talk: impl FnOnce(&mut Log)) -> String {
        let sink = Shared::default();
        let mut log = Log::to(kind, Box::new(sink.clone()), every);
        talk(&mut log);
        log.finish();
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_say_what_the_bar_says() {
        let text = written(LogKind::Lines, Duration::ZERO, |log| {
            log.epoch_start(EXTENT);
            log.steps(&report(7, Some(1.5e-4)));
            log.steps(&report(8, None));
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("epoch 2/3, step 7/100, 0:00 left, run ends in 0:00: "), "{text}");
        assert!(
            lines[0].ends_with(
                " images/s, loss 1.5000, accuracy 25.0 %, drift 1.5e-4, local error 1.5e-4, activations 1.5 MiB"
            ),
            "{text}"
        );
        assert!(lines[1].ends_with(" images/s, loss 1.5000, accuracy 25.0 %, activations 1.5 MiB"), "{text}");
    }

    #[test]
    fn steps_are_silent_between_two_drawings() {
        let text = written(LogKind::Lines, Duration::from_secs(3600), |log| {
            log.epoch_start(EXTENT);
            (1..=100).for_each(|step| log.steps(&report(step, None)));
            log.epoch_end(&row(2));
            log.note("a word");
        });
        let expected = "epoch 2/3: train loss 1.6263, 36.36 %; test loss 1.8189, 31.79 %; lr 0.1, drift 1.6e-4, local 1.0e-3, \
                        21.5 s, 2326 images/s, 30.0 MiB\na word\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn quiet_says_nothing_and_a_bar_writes_no_step_lines() {
        let talk = |log: &mut Log| {
            log.epoch_start(EXTENT);
            log.steps(&report(1, None));
            log.note("a word");
        };
        assert_eq!(written(LogKind::Quiet, Duration::ZERO, talk), "");
        assert_eq!(written(LogKind::Bar, Duration::ZERO, talk), "a word\n");
    }

    #[test]
    fn a_closed_pipe_does_not_end_the_run() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        Log::to(LogKind::Lines, Box::new(Closed), Duration::ZERO).note("nobody reads this");
    }

    #[test]
    fn long_lines_break_between_words() {
        for (text, width, expected) in [
            ("short", 80, "short"),
            ("exactly ten", 11, "exactly ten"),
            ("one two three four", 10, "one two\n    three\n    four"),
            ("unbreakable/path and more", 8, "unbreakable/path and more"),
            ("trains – on this", 10, "trains –\n    on\n    this"),
        ] {
            let mut wrapped = text.to_string();
            wrap(&mut wrapped, width);
            assert_eq!(wrapped, expected);
        }
    }
}
