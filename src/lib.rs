//! Training of very deep residual networks without storing their activations.
//!
//! # The method
//!
//! A residual network steps a state through N blocks, with h = 1/N:
//!
//! ```text
//! Euler (ResNet)    x_{n+1} = x_n + h f(x_n, theta_n)                                        n = 0 .. N-1
//! Heun (HeunNet)    k1 = f(x_n, theta_n);  k2 = f(x_n + h k1, theta_{n+1})
//!                   x_{n+1} = x_n + h/2 (k1 + k2)                                            n = 0 .. N-2
//! ```
//!
//! Backpropagation needs every x_n. Instead of storing them, the sweep starts from x_N and rebuilds each from the next by the
//! same step with -h and its stages mirrored, `x~_n = x_{n+1} - h f(x_{n+1}, theta_n)`, takes the exact VJP of the forward
//! step there, and moves on (Sander, Ablin and Peyré, "Do Residual Neural Networks discretize Neural Ordinary Differential
//! Equations?", NeurIPS 2022). The rebuilt state is off by O(h^2) a step, so the gradient by O(1/N). This crate carries on from
//! `x_{n+1} - h f(x~_n)` instead of from x~_n: the VJP needs that f anyway, and the error falls to O(1/N^2) where f is smooth.
//! What the reconstruction lost is known at the end of every sweep, where the stem knows the true x_0, and is reported as the
//! drift `|x~_0 - x_0| / |x_0|`.
//!
//! # The house
//!
//! Arrows point down only.
//!
//! | module | |
//! | --- | --- |
//! | [`cli`], [`settings`], [`config`] | what the user typed, and what the run means |
//! | [`train`], [`schedule`] | the run: epochs, checkpoints, reports |
//! | [`net`], [`init`], [`plan`] | stem, stages and head; initial weights; every byte, planned |
//! | [`sweep`] | one file a gradient mode |
//! | [`scheme`] | Euler and Heun: one step with signed h, and its pullback |
//! | [`field`] | residual functions f: the paper's block, a bottleneck, a linear one |
//! | [`device`], [`operands`], [`check`] | the vocabulary of operations, the fused ones' definitions, what fits what |
//! | [`reference`](mod@reference), [`cpu`], `cuda` | f64 in plain loops, the oracle; f32 with SIMD and threads; GPUs |
//! | [`code`] | codes of a few bits for increments, which make the way back exact |
//! | [`data`] | the data sets, their augmentation, the epochs' order |
//! | [`memory`], [`host`], [`tensor`], [`shape`], [`error`] | what everything stands on
//! | [`chart`], `raster` | panels of curves: training's, the benches' and `paper`'s; an SVG as a PNG |
//! | [`paper`] | the paper's experiments, in cells that are computed once |
//! | [`choose`], [`terminal`] | the device that was asked for; what the binaries say, and how Ctrl-C stops them |
#![warn(missing_docs)]

pub mod chart;
pub mod check;
pub mod choose;
pub mod cli;
pub mod code;
pub mod config;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod data;
pub mod device;
pub mod error;
pub mod field;
pub mod host;
pub mod init;
pub mod mask;
pub mod memory;
pub mod net;
pub mod operands;
pub mod paper;
pub mod plan;
#[cfg(feature = "paper")]
pub mod raster;
pub mod reference;
pub mod schedule;
pub mod scheme;
pub mod settings;
pub mod shape;
pub mod sweep;
pub mod tensor;
pub mod terminal;
pub mod train;

pub use error::{Error, Result};
