//! How many steps a run asks of the device before it looks at their results.
//!
//! Looking waits for the device and leaves it idle until the next step is asked for, so it is done a few times per second; more
//! seldom would make the log stale and Ctrl-C slow. On a device where an operation that returned is done, that is each step.

use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The steps that were asked for and whose results nobody has read.
pub(super) struct Flight {
    since: Instant,
    steps: usize,
    /// Steps that are asked for before the next look.
    ahead: usize,
    most: usize,
}

impl Flight {
    /// At most `most` steps at a time.
    pub(super) fn new(most: usize) -> Self {
        Self { since: Instant::now(), steps: 0, ahead: 1, most }
    }

    /// Begins with nothing asked for.
    pub(super) fn begin(&mut self) {
        self.since = Instant::now();
        self.steps = 0;
    }

    pub(super) fn add(&mut self) {
        self.steps += 1;
    }

    /// Steps that nobody has looked at.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    pub(super) fn is_full(&self) -> bool {
        self.steps >= self.ahead
    }

    /// All steps are done and read; gives the seconds that one of them took in the mean.
    pub(super) fn land(&mut self) -> f64 {
        let now = Instant::now();
        let seconds = (now - self.since).as_secs_f64() / self.steps.max(1) as f64;
        self.ahead = next_ahead(self.ahead, seconds, self.most);
        self.since = now;
        self.steps = 0;
        seconds
    }
}

/// As many steps as fit between two looks; at most twice as many as before, since a single look may be off.
fn next_ahead(ahead: usize, step_seconds: f64, most: usize) -> usize {
    let fit = LOOK_EVERY.as_secs_f64() / step_seconds.max(1e-9);
    (fit as usize).clamp(1, most.min(2 * ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_a_few_times_a_second() {
        let settled = |seconds, most| (0..20).fold(1, |ahead, _| next_ahead(ahead, seconds, most));
        assert_eq!([settled(0.01, 256), settled(0.0001, 256), settled(3.0, 256), settled(0.01, 1)], [25, 256, 1, 1]);
        assert_eq!([next_ahead(1, 0.001, 256), next_ahead(200, 1.0, 256)], [2, 1]);
    }

    #[test]
    fn a_flight_is_full_at_its_length_and_empty_after_landing() {
        let mut flight = Flight { ahead: 2, ..Flight::new(4) };
        flight.begin();
        flight.add();
        assert!(!flight.is_full());
        flight.add();
        assert!(flight.is_full() && flight.steps() == 2);
        assert!(flight.land() >= 0.0 && flight.steps() == 0);
    }
}
