//! What is trained: a net of so many tied blocks, in one way.

use rewind::memory::Bytes;

use crate::method::Method;
use crate::training::experiment::Labelled;
use crate::training::{Trained, Training};

/// The experiment's name, and that of its folder.
pub const NAME: &str = "tied";

/// What tells a run from the others.
pub struct Label {
    pub blocks: usize,
    pub method: Method,
    /// What the device holds, as planned.
    pub planned: Bytes,
}

/// A run, and what tells it from the others.
pub type Run = Labelled<Label, Training>;

/// The runs so far, and what they gave.
pub type Done<'a> = [(&'a Run, Trained)];
