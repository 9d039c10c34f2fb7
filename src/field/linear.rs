//! The linear residual function `f(x, theta) = theta x`, for which the paper proves its theorems: the 1x1 convolution, with no
//! norm and so no statistics. On maps `[N, 1, 1, d]` the batch holds the vectors x.

use super::chain::{Chain, Link, Links};

/// theta x. Its one tensor, `[1, 1, C_in, C_out]`, is theta's transpose.
pub type Linear = Chain<LinearLinks>;

/// Its link.
pub enum LinearLinks {}

impl Links for LinearLinks {
    fn links(channels: usize) -> Vec<Link> {
        vec![Link::linear(channels)]
    }
}
