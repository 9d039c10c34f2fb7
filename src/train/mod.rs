//! What a run does and leaves: the training loop, and the files of its folder.
//!
//! [`folder`] claims the folder, [`atomic`] writes into it so that a crash leaves the former file, [`checkpoint`] saves and
//! restores, [`report`] and [`curves`] say how it went, [`log`] says how it goes.

pub mod atomic;
pub mod folder;
