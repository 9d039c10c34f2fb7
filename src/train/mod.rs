//! What a run does and leaves: the training loop, and the files of its folder.
//!
//! [`folder`] claims the folder, [`atomic`] writes into it so that a crash leaves the former file, [`checkpoint`] saves and
//! restores a run's [`progress`].

pub mod atomic;
pub mod checkpoint;
pub mod folder;
pub mod progress;
