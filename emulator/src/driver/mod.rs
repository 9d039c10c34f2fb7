//! The CUDA driver API as exports of this library, which a program opens as `libcuda.so`.
//!
//! Each file holds one part of the API: its rules as safe code over [`state::Driver`], and below them the exports, which
//! turn C's arguments into safe types ([`foreign`]) and results into codes ([`code`]). Answers follow NVIDIA's "CUDA Driver
//! API" reference; where hardware leaves room, the stricter answer is given.
//!
//! Work runs when it is submitted. A fault in a kernel is reported by the calls after the launch and then by every call,
//! until the context is destroyed or reset.

#[macro_use]
mod export;

mod capture;
mod code;
mod context;
mod control;
mod copy;
mod device;
mod event;
mod foreign;
mod function;
mod graph;
mod host;
mod launch;
mod library;
mod lookup;
mod memory;
mod module;
mod occupancy;
mod pool;
mod rectangle;
mod settings;
mod state;
mod statistics;
mod stream;
mod unsupported;
mod work;

pub use statistics::Statistics;
