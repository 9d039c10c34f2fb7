//! Training of very deep residual networks without storing their activations.
//!
//! ```
//! use rewind::cpu::Cpu;
//! use rewind::device::SgdStep;
//! use rewind::init::Init;
//! use rewind::net::{Net, NetSpec};
//!
//! # fn main() -> rewind::Result<()> {
//! let cpu = Cpu::new(None)?;
//! let spec = NetSpec { depth: 16, batch: 4, ..NetSpec::default() };
//! let mut net = Net::new(&cpu, spec, Init::Paper, 0)?;
//! let images: Vec<f32> = (0..4 * 32 * 32 * 3).map(|i| (i as f32 * 0.1).sin()).collect(); // [N, 32, 32, 3]
//! net.load(&cpu, &images, &[0.0, 1.0, 2.0, 3.0])?;
//! let (batch, drift) = net.train_step(&cpu, SgdStep::PAPER)?;
//! println!("loss {}, drift {:?}, {}", batch.loss, drift.stem, net.memory().table());
//! # Ok(())
//! # }
//! ```
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
//! or by any explicit Runge-Kutta method, RK4 among them: see [`scheme`].
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
//! To use:
//!
//! | module | |
//! | --- | --- |
//! | [`net`], [`init`] | stem, stages and head, and the plan of every byte; initial weights |
//! | [`cpu`], `cuda`, [`reference`](mod@reference) | f32 with SIMD and threads; GPUs; f64 in plain loops, the oracle |
//! | [`sweep`], [`scheme`], [`code`] | the gradient modes; Euler, Heun, RK4 and your own; codes of a few bits, which make the way back exact |
//! | [`data`] | the data sets, their augmentation, the epochs' order |
//!
//! To extend:
//!
//! | module | |
//! | --- | --- |
//! | [`field`] | residual functions f: chains of links, the paper's block, a bottleneck, a linear one; [`fn@check`] tries yours |
//! | [`device`], [`operands`], [`residual`], [`mod@check`] | the vocabulary of operations, a trait per noun; what they take, functions included; what fits what |
//! | [`memory`], [`tensor`], [`shape`], [`mask`], [`host`], [`error`] | what everything stands on |
#![warn(missing_docs, clippy::missing_errors_doc)]

pub mod check;
pub mod code;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod data;
pub mod device;
pub mod error;
pub mod field;
mod field_report;
pub mod host;
pub mod init;
pub mod mask;
pub mod memory;
pub mod net;
pub mod operands;
pub mod recipe;
pub mod reference;
pub mod residual;
pub mod scheme;
pub mod shape;
pub mod sweep;
pub mod tensor;

pub use error::{Error, Result};
pub use field_report::{FieldReport, check};
