//! Shapes: four extents, the last one contiguous in memory.

use std::fmt;

/// Four extents in memory order, the last one contiguous. Maps are `[N, H, W, C]`, convolution weights `[KH, KW, C_in, C_out]`,
/// vectors `[1, 1, 1, C]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape(pub [usize; 4]);

impl Shape {
    /// A batch of feature maps `[N, H, W, C]`.
    pub const fn map(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self([n, h, w, c])
    }

    /// A square convolution's weights `[K, K, C_in, C_out]`.
    pub const fn weight(kernel: usize, c_in: usize, c_out: usize) -> Self {
        Self([kernel, kernel, c_in, c_out])
    }

    /// A vector `[1, 1, 1, C]`.
    pub const fn vector(c: usize) -> Self {
        Self([1, 1, 1, c])
    }

    /// Images in the batch.
    pub const fn n(self) -> usize {
        self.0[0]
    }

    /// Rows.
    pub const fn h(self) -> usize {
        self.0[1]
    }

    /// Columns.
    pub const fn w(self) -> usize {
        self.0[2]
    }

    /// Channels.
    pub const fn c(self) -> usize {
        self.0[3]
    }

    /// Number of elements.
    pub const fn len(self) -> usize {
        self.0[0] * self.0[1] * self.0[2] * self.0[3]
    }

    /// Whether there is no element.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Elements of one image: `H * W * C`.
    pub const fn image_len(self) -> usize {
        self.0[1] * self.0[2] * self.0[3]
    }

    /// Pixels of the batch: `N * H * W`, the number of terms in a batch-norm statistic.
    pub const fn pixels(self) -> usize {
        self.0[0] * self.0[1] * self.0[2]
    }

    /// The same map with another number of images.
    pub const fn with_batch(self, n: usize) -> Self {
        Self([n, self.0[1], self.0[2], self.0[3]])
    }

    /// The map of its `size` x `size` windows; rows and columns that fill none are left out.
    pub const fn pooled(self, size: usize) -> Self {
        Self([self.0[0], self.0[1] / size, self.0[2] / size, self.0[3]])
    }

    /// The same map with another number of channels.
    pub const fn with_channels(self, c: usize) -> Self {
        Self([self.0[0], self.0[1], self.0[2], c])
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [n, h, w, c] = self.0;
        write!(f, "[{n}, {h}, {w}, {c}]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The geometry of a square convolution; the channels are the weights'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Distance between two outputs, in input pixels.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
}

impl Conv {
    /// 3x3, stride 1, padding 1: the residual blocks' convolution, which keeps H and W.
    pub const SAME_3X3: Self = Self { kernel: 3, stride: 1, padding: 1 };
    /// 1x1: the same matrix at every pixel.
    pub const POINTWISE: Self = Self { kernel: 1, stride: 1, padding: 0 };
    /// 5x5, stride 3, padding 1: the paper's stem.
    pub const STEM_5X5: Self = Self { kernel: 5, stride: 3, padding: 1 };

    /// 7x7, stride 2, padding 3: the stem of a ResNet for ImageNet.
    pub const STEM_7X7: Self = Self { kernel: 7, stride: 2, padding: 3 };

    /// The output's extent along one axis.
    pub const fn out(self, extent: usize) -> usize {
        (extent + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// The output's shape for an input `[N, H, W, C_in]`.
    pub const fn output(self, x: Shape, c_out: usize) -> Shape {
        Shape::map(x.n(), self.out(x.h()), self.out(x.w()), c_out)
    }

    /// Floating-point operations of one forward evaluation, 2 per multiply-add, padding counted.
    pub const fn flop(self, x: Shape, c_out: usize) -> u64 {
        2 * self.output(x, c_out).len() as u64 * (self.kernel * self.kernel * x.c()) as u64
    }
}
