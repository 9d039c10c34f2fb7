//! One more pass over the test images, which keeps the answer to each.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rewind::data::{Part, image_len};
use rewind::device::Device;
use rewind::error::Result;
use rewind::field::Field;
use rewind::net::Pass;

use super::Run;
use crate::answers::Answers;
use crate::events::{Event, Listener};
use crate::folder::RunFolder;

/// Time between two words on how far a long pass is.
const TELL_EVERY: Duration = Duration::from_secs(5);

impl<D: Device<Real = f32>, F: Field<D>> Run<'_, D, F> {
    /// What the net takes each test image for; none if the run was stopped before the last of them. The net and the run stay as they are.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn answers(&mut self, listener: &mut dyn Listener) -> Result<Option<Answers>> {
        self.net.begin_pass(self.device, Pass::Test, 0)?;
        if let Some(stream) = &mut self.stream {
            stream.begin_test()?;
        }
        let mut answers = Answers::new(self.pictures.classes.clone(), self.pictures.side);
        let (classes, len) = (self.pictures.classes.len(), image_len(self.pictures.side));
        let mut logits = vec![0.0_f32; self.test.batch.min(self.test.images) * classes];
        let (mut told, mut read) = (Instant::now(), 0);
        for step in 0..self.test.count() {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                listener.hear(&Event::Note(&format!("looked at {read} of {} test images", self.test.images)));
            }
            let n = self.test.len(step);
            let (pixels, labels) = match &mut self.stream {
                Some(stream) => {
                    let (pixels, labels) = stream.next(n)?;
                    self.net.refill(self.device, Part::Test, pixels, labels)?;
                    (pixels, labels)
                }
                None => {
                    let test = &self.whole.as_ref().expect("what is not held whole comes from a stream").test;
                    (&test.pixels[read * len..], &test.labels[read..])
                }
            };
            self.net.ask_test_step(self.device, n)?;
            self.device.download(self.net.logits(), &mut logits[..n * classes])?;
            let images = logits.chunks_exact(classes).zip(labels).zip(pixels.chunks_exact(len)).take(n);
            images.for_each(|((logits, label), pixels)| answers.add(logits, *label, pixels));
            read += n;
        }
        Ok(Some(answers))
    }

    /// Leaves in the run's folder what the net takes the test images for: tables and pictures. False if the run was stopped before.
    ///
    /// # Errors
    /// [`rewind::Error::Io`] if a file cannot be written, and whatever the device reports.
    pub fn leave_answers(&mut self, folder: &RunFolder, listener: &mut dyn Listener) -> Result<bool> {
        let Some(answers) = self.answers(listener)? else { return Ok(false) };
        let title = format!("{}, epoch {}", self.title(), self.progress.epoch);
        answers.write(folder, &title, &self.test_files)?;
        Ok(true)
    }
}
