//! How fast a run goes, and how long it still takes at that pace.

use std::fmt;
use std::time::Instant;

/// Steps and images since a moment.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    since: Instant,
    steps: u64,
    images: u64,
}

impl Pace {
    pub(super) fn start() -> Self {
        Self { since: Instant::now(), steps: 0, images: 0 }
    }

    pub(super) fn add(&mut self, steps: usize, images: usize) {
        self.steps += steps as u64;
        self.images += images as u64;
    }

    pub(super) fn images_per_second(&self, now: Instant) -> f64 {
        self.images as f64 / (now - self.since).as_secs_f64().max(1e-9)
    }

    pub(super) fn time_for(&self, steps: u64, now: Instant) -> Clock {
        Clock((now - self.since).as_secs_f64() / self.steps.max(1) as f64 * steps as f64)
    }
}

/// Seconds as a person reads them: `0:07`, `12:34`, `1:02:03`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock(
    /// Seconds.
    pub f64,
);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.round() as u64;
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        match hours {
            0 => write!(f, "{minutes}:{seconds:02}"),
            _ => write!(f, "{hours}:{minutes:02}:{seconds:02}"),
        }
    }
}

/// Time left in the epoch, and until the run ends.
pub(super) struct TimeLeft {
    pub(super) epoch: Clock,
    pub(super) run: Clock,
}

impl fmt::Display for TimeLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} left, run ends in {}", self.epoch, self.run)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_left_follows_the_pace() {
        let since = Instant::now();
        let pace = Pace { since, steps: 10, images: 2560 };
        let now = since + Duration::from_secs(20);
        assert_eq!(pace.images_per_second(now), 128.0);
        assert_eq!(pace.time_for(1000, now), Clock(2000.0));
        let clocks = [0.4, 59.6, 754.0, 3723.0].map(|s| Clock(s).to_string());
        assert_eq!(clocks, ["0:00", "1:00", "12:34", "1:02:03"]);
    }
}
