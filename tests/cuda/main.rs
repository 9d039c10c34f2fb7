//! The CUDA device as a whole, on a GPU or on the emulator.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod arguments;
mod block_launches;
mod device_memory;
mod kernel_traffic;
mod published;
#[path = "../support/published.rs"]
mod published_nets;
mod runs;
mod staged;
mod step_launches;
#[path = "../support/mod.rs"]
mod support;
mod training;
