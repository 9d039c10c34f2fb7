//! What happens in a run, told while it happens: to a [`Log`](crate::log::Log), or to a function of another program.

use std::path::Path;

use rewind::memory::Bytes;

use super::drift::DriftWarning;
use super::progress::EpochRow;

/// Something that happened. Borrowed from the run, so that telling it costs nothing.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// What was found when the device was opened, in a sentence.
    Device(&'a str),
    /// What a person should know, in a sentence.
    Note(&'a str),
    /// The run fits, and takes its memory next.
    Planned {
        /// What it takes.
        planned: &'a Bytes,
        /// What the same net would take with stored activations.
        stored: &'a Bytes,
    },
    /// An epoch starts or, resumed, goes on.
    EpochStart(EpochExtent),
    /// Steps are done: each one on the CPU, some at a time on a GPU, which is ahead of those who look.
    Steps(&'a StepsReport),
    /// The drift passed the level from which on gradients may be too wrong to train with; told once in a run.
    Drift {
        /// When, and how large it was.
        warning: DriftWarning,
        /// The same in words.
        sentence: &'a str,
    },
    /// An epoch is done and tested.
    Epoch(&'a EpochRow),
    /// A checkpoint was written, whole, to this file.
    Checkpoint(&'a Path),
}

/// Who is told.
pub trait Listener {
    /// An event happened. The run waits for the end of this call.
    fn hear(&mut self, event: &Event<'_>);
}

impl<F: FnMut(&Event<'_>)> Listener for F {
    fn hear(&mut self, event: &Event<'_>) {
        self(event);
    }
}

/// What an epoch consists of, told when it starts or, resumed, goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochExtent {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Steps of the epoch that an earlier session did.
    pub done: usize,
    /// Steps of the epoch.
    pub steps: usize,
    /// Steps of the run after this epoch.
    pub steps_after: u64,
}

/// The steps since the last report, for the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepsReport {
    /// The last of them in its epoch, counted from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// Images of them.
    pub images: usize,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Fraction classified correctly in the epoch so far.
    pub accuracy: f64,
    /// Drift of the last step; none in modes that reconstruct nothing.
    pub drift: Option<f64>,
    /// Largest local error of a block that the last of them reconstructed; none where nobody looked.
    pub local_error: Option<f64>,
    /// Peak bytes of state, scratch and saved.
    pub activation_peak_bytes: u64,
}
