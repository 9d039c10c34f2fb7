//! Training runs: what `train_cifar` and `train` do, as a library.
//!
//! [`training`] is a run inside another program: [`training::Training`] is given a config, tells what happens, and stops when asked. Of what it is
//! made: settings in [`settings`] (one table) and [`config`], by flags in [`cli`] or a file; what a run takes in [`budget`] and what
//! there is room for in [`host_memory`]; its loop in [`run`], which tells [`events`]; and the files of its folder: [`folder`] claims it,
//! [`atomic`] writes into it so that a crash leaves the former file, [`checkpoint`] saves and restores a run's [`progress`], [`drift`]
//! warns when its gradients grow doubtful, [`log`] says how it goes and [`pace`] how fast, [`report`] and [`curves`] how it went,
//! [`answers`] what its net takes the test images for.
//! [`program`] is what the binaries that train do with their command line, and `export`; [`predict`] the one that uses a trained net,
//! [`picture_spec`] what that has to know; [`weights`] reads and writes those of published nets; [`choose`] opens the device that was asked
//! for, [`source`] the data ([`cifar`], [`pictures`] by class, or the built-in [`synthetic`] set); [`terminal`] is what the binaries share in
//! talking to their user, [`chart`] draws panels of curves.
#![warn(missing_docs)]
#![warn(clippy::missing_errors_doc)]

pub mod answers;
pub mod atomic;
pub mod budget;
pub mod chart;
pub mod checkpoint;
pub mod choose;
pub mod cifar;
pub mod cli;
pub mod config;
pub mod curves;
#[cfg(feature = "download")]
pub mod download;
pub mod drift;
pub mod events;
mod exact;
mod flight;
pub mod folder;
pub mod host_memory;
mod lock;
pub mod log;
pub mod pace;
pub mod picture_spec;
pub mod pictures;
mod plausible;
pub mod predict;
pub mod preset;
pub mod program;
pub mod progress;
#[cfg(feature = "raster")]
pub mod raster;
pub mod report;
pub mod run;
pub mod schedule;
pub mod settings;
mod signals;
mod softmax;
pub mod source;
mod start;
mod step_log;
pub mod synthetic;
mod tensorboard;
pub mod terminal;
pub mod training;
pub mod values;
pub mod weights;
