//! What a run takes in [`budget`], does and leaves: the training loop in [`run`], and the files of its folder.
//!
//! [`folder`] claims the folder, [`atomic`] writes into it so that a crash leaves the former file, [`checkpoint`] saves and
//! restores a run's [`progress`], [`drift`] warns when its gradients
//! grow doubtful, [`log`] says how it goes and [`pace`] how fast, [`report`] and [`curves`] how it went.

pub mod atomic;
pub mod budget;
pub mod checkpoint;
pub mod curves;
pub mod drift;
mod flight;
pub mod folder;
pub mod log;
pub mod pace;
pub mod progress;
pub mod report;
pub mod run;
mod start;
