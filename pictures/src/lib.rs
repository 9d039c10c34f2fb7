//! Pictures for training: found, decoded, resized and handed over in order, ahead of who needs them.
//!
//! This crate knows no network and no GPU. It begins with a folder and ends with bytes, `[image, image, 3]` each:
//!
//! 1. [`scan`] finds the files of a folder in ImageNet's layout and splits a part off to validate on. [`arrays`] reads MNIST and
//!    SVHN instead.
//! 2. [`survey`] looks at each file: which are broken, and how large the largest is. Memory is planned by that.
//! 3. [`source::Files`] decodes ([`decode`]) and resizes ([`resize`]) a picture each time, [`cache::Cached`] once.
//! 4. [`loader`] takes views of them, the middle or a box of chance ([`crop`]), on several threads, and changes their colours and
//!    shape by chance ([`augment`]). [`statistics`] measures the mean and deviation of what is seen.
//!
//! The same calls give the same bytes for any number of threads and any cache. What Pillow and torchvision do with a picture is
//! the measure: the tests hold decoding and resizing to theirs. A picture that cannot be read stops nothing: it is a [`Broken`],
//! with its path and the reason in one sentence.

mod ahead;
pub mod arrays;
pub mod augment;
pub mod cache;
pub mod crop;
pub mod decode;
mod error;
pub mod loader;
pub mod regular;
pub mod resize;
pub mod scan;
pub mod source;
pub mod statistics;
pub mod survey;

pub use error::{Broken, Error, Result};
