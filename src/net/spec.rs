//! What a network is made of: the paper's CIFAR net of one residual stack, or one of several stages.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::MIXED_LABEL;
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::scheme::{Scheme, StackSpec, StepSize};
use crate::shape::{Conv, Shape};
use crate::sweep::{Gradient, SweepSpec};

/// Side of the pooling windows in the head of a net of one stack.
pub const POOL: usize = 4;
/// Stages of a net at most.
pub const STAGES_MAX: usize = 8;

/// The convolution between the images and the residual stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Stem {
    /// The paper's: 5x5, stride 3, padding 1, which makes 10 x 10 maps of 32 x 32 images.
    #[serde(rename = "5x5")]
    #[cfg_attr(feature = "clap", value(name = "5x5"))]
    Strided5x5,
    /// 3x3, stride 1, padding 1, which keeps the images' rows and columns.
    #[serde(rename = "3x3")]
    #[cfg_attr(feature = "clap", value(name = "3x3"))]
    Same3x3,
    /// 7x7, stride 2, padding 3, and behind batch norm and ReLU the largest of 3x3, stride 2, padding 1: that of a ResNet for
    /// ImageNet, which makes 56 x 56 maps of 224 x 224 images.
    #[serde(rename = "7x7")]
    #[cfg_attr(feature = "clap", value(name = "7x7"))]
    Pooled7x7,
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stem::Strided5x5 => "5x5",
            Stem::Same3x3 => "3x3",
            Stem::Pooled7x7 => "7x7",
        })
    }
}

impl Stem {
    /// Its geometry.
    pub const fn conv(self) -> Conv {
        match self {
            Stem::Strided5x5 => Conv::STEM_5X5,
            Stem::Same3x3 => Conv::SAME_3X3,
            Stem::Pooled7x7 => Conv::STEM_7X7,
        }
    }

    /// The windows behind it of which the largest elements stay, if it has any.
    pub const fn pool(self) -> Option<Conv> {
        match self {
            Stem::Strided5x5 | Stem::Same3x3 => None,
            Stem::Pooled7x7 => Some(Conv { stride: 2, ..Conv::SAME_3X3 }),
        }
    }

    /// Rows, or columns, of the map that it makes of so many.
    pub const fn out(self, extent: usize) -> usize {
        let out = self.conv().out(extent);
        match self.pool() {
            Some(pool) => pool.out(out),
            None => out,
        }
    }
}

/// Residual blocks and channels of each stage of a staged net.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    len: usize,
    of: [(usize, usize); STAGES_MAX],
}

impl Stages {
    /// Stages of these many residual blocks, the first block not counted, and these widths.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are none or too many, or not as many of the one as of the other.
    pub fn new(blocks: &[usize], widths: &[usize]) -> Result<Self> {
        let len = blocks.len();
        if len != widths.len() {
            let found = widths.len();
            return Err(Error::Usage(format!(
                "`blocks` names {len} stages and `widths` names {found}: give as many of the one as of the other"
            )));
        }
        if !(1..=STAGES_MAX).contains(&len) {
            return Err(Error::Usage(format!("`blocks` names {len} stages: give 1 to {STAGES_MAX}")));
        }
        let mut of = [(0, 0); STAGES_MAX];
        of.iter_mut().zip(blocks.iter().zip(widths)).for_each(|(of, (blocks, width))| *of = (*blocks, *width));
        Ok(Self { len, of })
    }

    /// (residual blocks, channels) of each stage.
    pub fn each(&self) -> impl ExactSizeIterator<Item = (usize, usize)> {
        let Self { len, of } = *self;
        of.into_iter().take(len)
    }

    /// The same with at most so many residual blocks per stage.
    pub fn at_most(mut self, blocks: usize) -> Self {
        self.of.iter_mut().for_each(|(of, _)| *of = blocks.min(*of));
        self
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.each()).finish()
    }
}

/// What lies between a net's stem and its head, where it is not the paper's one stack of blocks with weights of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Whether all residual blocks of a stage have one theta.
    pub tied: bool,
    /// The stages of a staged net; depth and channels of the [`NetSpec`] are then not looked at.
    pub stages: Option<Stages>,
    /// Channels of a staged net's stem, where they are not those of its first stage.
    pub stem_width: Option<usize>,
    /// Whether a ReLU follows the sum of every residual block of a staged net, as in a published ResNet (He et al. 2016), and not of
    /// a stage's first block alone.
    pub post_activation: bool,
    /// The stages of a staged net whose residual blocks go back as [`NetSpec::sweep`] says; the others store what `backprop` does. None
    /// means all.
    pub swept: Option<[bool; STAGES_MAX]>,
}

/// What a network is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetSpec {
    /// Residual functions N.
    pub depth: usize,
    /// Channels of the residual stack.
    pub channels: usize,
    /// Largest batch.
    pub batch: usize,
    /// The convolution before the stack.
    pub stem: Stem,
    /// Rows and columns of an image.
    pub image: usize,
    /// Channels of an image.
    pub image_channels: usize,
    /// Classes.
    pub classes: usize,
    /// Part of the right answer in training that all classes have alike: see [`crate::device::Head::softmax_cross_entropy`].
    pub label_smoothing: f64,
    /// Whether AdamW is to train the net, which keeps a second moment of each parameter.
    pub second_moments: bool,
    /// What is done with gradients before the optimiser sees them, and with parameters after it.
    pub recipe: Recipe,
    /// Whether training images are mixed with others of their batch, which gives an image two right answers: see [`crate::data::Mix`].
    pub mixes: bool,
    /// The step size of every step.
    pub step_size: StepSize,
    /// How the gradient is computed.
    pub sweep: SweepSpec,
    /// What the stack is made of, or the stages in its place.
    pub body: Body,
}

/// What residual blocks alone are made of, see [`super::Blocks`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlocksSpec {
    /// The state x for the largest batch, `[N, H, W, C]`.
    pub map: Shape,
    /// Residual functions N.
    pub depth: usize,
    /// The step size of every step.
    pub step_size: StepSize,
    /// Whether all blocks have one theta.
    pub tied: bool,
    /// Whether AdamW is to train them, which keeps a second moment of each parameter.
    pub second_moments: bool,
    /// How the gradient is computed.
    pub sweep: SweepSpec,
}

impl BlocksSpec {
    /// The residual stack.
    pub fn stack(&self) -> StackSpec {
        let Self { map, depth, step_size, tied, second_moments, sweep } = *self;
        let (keeps_statistics, keeps_masks) = (sweep.keeps_statistics(), sweep.keeps_masks());
        StackSpec {
            scheme: sweep.scheme,
            depth,
            step_size,
            map,
            keeps_statistics,
            keeps_masks,
            tied,
            second_moments,
            recipe: Recipe::default(),
            post_activation: false,
        }
    }
}

/// One stage of a net.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageSpec {
    /// The plain block that begins the stage, and whether a ReLU follows the stage; none of both in a net of one stack.
    pub first: Option<FirstSpec>,
    /// The residual stack.
    pub stack: StackSpec,
    /// How its gradient is computed.
    pub sweep: SweepSpec,
}

/// The plain ResNet block that begins a stage: `y = relu(F(x) + S(x))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstSpec {
    /// x, `[N, H, W, C]`.
    pub input: Shape,
    /// Channels of y.
    pub channels: usize,
    /// Of F and S.
    pub stride: usize,
}

impl FirstSpec {
    /// The shortcut S: a 1x1 convolution and its norm where the shape changes, else nothing.
    pub fn projection(&self) -> Option<Conv> {
        let Self { input, channels, stride } = *self;
        (stride > 1 || channels != input.c()).then_some(Conv { stride, ..Conv::POINTWISE })
    }
}

/// The paper's net for CIFAR-10 at depth 8, with codes of four bits on the way back.
impl Default for NetSpec {
    fn default() -> Self {
        Self {
            depth: 8,
            channels: 16,
            batch: 256,
            stem: Stem::Strided5x5,
            image: 32,
            image_channels: 3,
            classes: 10,
            label_smoothing: 0.0,
            second_moments: false,
            recipe: Recipe::default(),
            mixes: false,
            step_size: StepSize::OverDepth,
            sweep: SweepSpec::new(Scheme::Euler, Gradient::Coded),
            body: Body::default(),
        }
    }
}

impl NetSpec {
    /// The images, `[N, H, W, C]`.
    pub fn images(&self) -> Shape {
        Shape::map(self.batch, self.image, self.image, self.image_channels)
    }

    /// The right answers, `[N, 1, 1, 1]`, or `[N, 1, 1, 3]` where images are mixed.
    pub fn labels(&self) -> Shape {
        Shape::map(self.batch, 1, 1, if self.mixes { MIXED_LABEL } else { 1 })
    }

    /// Mixes of an epoch of so many training images: one per batch, none where images are not mixed.
    pub fn mixes_of(&self, images: usize) -> usize {
        if self.mixes { images.div_ceil(self.batch) } else { 0 }
    }

    /// What the stem's convolution makes of the images, `[N, H, W, C]`.
    pub fn stem_conv_map(&self) -> Shape {
        let Body { stages, stem_width, .. } = self.body;
        let staged = stages.and_then(|stages| stages.each().next());
        let width = staged.map_or(self.channels, |(_, width)| stem_width.unwrap_or(width));
        self.stem.conv().output(self.images(), width)
    }

    /// The stem's output, `[N, H, W, C]`: x_0 of a net of one stack.
    pub fn stem_map(&self) -> Shape {
        let map = self.stem_conv_map();
        self.stem.pool().map_or(map, |pool| pool.output(map, map.c()))
    }

    /// The stem's weights, `[K, K, C_in, C_out]`.
    pub fn stem_weight(&self) -> Shape {
        Shape::weight(self.stem.conv().kernel, self.image_channels, self.stem_map().c())
    }

    /// The stages, from the stem to the head.
    pub fn stages(&self) -> Vec<StageSpec> {
        let Self { depth, step_size, sweep, body, second_moments, recipe, .. } = *self;
        let tied = body.tied;
        let stack = |depth, map, sweep| StackSpec {
            recipe,
            ..BlocksSpec { map, depth, step_size, tied, second_moments, sweep }.stack()
        };
        let Some(stages) = body.stages else {
            return vec![StageSpec { first: None, stack: stack(depth, self.stem_map(), sweep), sweep }];
        };
        let stored = SweepSpec { update: sweep.update, ..SweepSpec::new(sweep.scheme, Gradient::Backprop) };
        let mut input = self.stem_map();
        let stage = |(s, (blocks, channels))| {
            let first = FirstSpec { input, channels, stride: if s == 0 { 1 } else { 2 } };
            // the strides of a 3x3 convolution padded by 1 and of a 1x1 convolution lead to the same map
            input = Conv { stride: first.stride, ..Conv::SAME_3X3 }.output(input, channels);
            let sweep = if body.swept.is_none_or(|swept| swept[s]) { sweep } else { stored };
            let stack = StackSpec { post_activation: body.post_activation, ..stack(blocks, input, sweep) };
            StageSpec { first: Some(first), stack, sweep }
        };
        stages.each().enumerate().map(stage).collect()
    }

    /// The last stage's state, `[N, H, W, C]`.
    pub fn last_map(&self) -> Shape {
        self.stages().last().map_or(self.stem_map(), |stage| stage.stack.map)
    }

    /// Side of the head's pooling windows: all of the map in a staged net.
    pub fn pool(&self) -> usize {
        if self.body.stages.is_some() { self.last_map().h() } else { POOL }
    }

    /// What the head's linear layer sees, `[N, H / 4, W / 4, C]` or `[N, 1, 1, C]`.
    pub fn pooled(&self) -> Shape {
        self.last_map().pooled(self.pool())
    }

    /// The same net with at most so many residual blocks per stage.
    pub fn at_most(self, blocks: usize) -> Self {
        let stages = self.body.stages.map(|stages| stages.at_most(blocks));
        Self { depth: blocks.min(self.depth), body: Body { stages, ..self.body }, ..self }
    }

    /// Residual blocks of the stage that has most.
    pub fn deepest(&self) -> usize {
        self.stages().iter().map(|stage| stage.stack.depth).max().unwrap_or(0)
    }
}
