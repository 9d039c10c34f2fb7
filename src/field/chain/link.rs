//! Links, and the order in which a chain of them is worked through.

use crate::device::Activation;
use crate::error::{Error, Result};
use crate::shape::{Conv, Shape};

/// A link of a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// A convolution without biases.
    Conv {
        /// Its geometry.
        conv: Conv,
        /// Its output channels.
        channels: usize,
    },
    /// A batch norm.
    Norm,
    /// A function of every element.
    Act(Activation),
    /// A constant factor.
    Scale(f64),
}

impl Link {
    /// ReLU.
    pub const RELU: Self = Self::Act(Activation::Relu);

    /// A convolution of an odd `kernel`, padded so that the map keeps its rows and columns.
    pub const fn conv(kernel: usize, channels: usize) -> Self {
        Self::Conv { conv: Conv { kernel, stride: 1, padding: kernel / 2 }, channels }
    }

    /// A linear map of every pixel's channels: the 1x1 convolution.
    pub const fn linear(channels: usize) -> Self {
        Self::conv(1, channels)
    }
}

/// What happens to every element between two convolutions: a batch norm, an activation and a factor, in this order, each where
/// there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Between {
    /// Whether there is a batch norm.
    pub norm: bool,
    /// The activation.
    pub act: Option<Activation>,
    /// The factor.
    pub scale: f64,
}

impl Between {
    const NOTHING: Self = Self { norm: false, act: None, scale: 1.0 };

    /// Whether nothing happens.
    pub fn is_nothing(&self) -> bool {
        *self == Self::NOTHING
    }

    /// Whether there is a ReLU behind a batch norm, whose signs a mask can keep.
    pub fn has_mask(&self) -> bool {
        self.norm && self.act == Some(Activation::Relu)
    }
}

/// A convolution and the map that it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// The geometry.
    pub conv: Conv,
    /// The input, `[N, H, W, C]`.
    pub input: Shape,
    /// Output channels.
    pub channels: usize,
}

impl Layer {
    /// The output, `[N, H', W', C']`.
    pub fn output(&self) -> Shape {
        self.conv.output(self.input, self.channels)
    }

    /// The weights, `[K, K, C, C']`.
    pub fn weight(&self) -> Shape {
        Shape::weight(self.conv.kernel, self.input.c(), self.channels)
    }
}

/// A chain's convolutions, and what lies in front of each and behind the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The convolutions.
    pub layers: Vec<Layer>,
    /// One more than there are convolutions.
    pub between: Vec<Between>,
}

/// Convolutions that have names.
pub const LAYERS_MAX: usize = 9;

impl Layout {
    /// The layout of these links, for inputs of this shape.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no convolution or there are more than [`LAYERS_MAX`], or if a batch norm, an activation and a
    /// factor between two convolutions stand in another order.
    pub fn of(links: &[Link], input: Shape) -> Result<Self> {
        let refuse = |problem: &str| Err(Error::Usage(format!("the residual function {links:?} {problem}")));
        let mut input = input;
        let (mut layers, mut between) = (Vec::new(), vec![Between::NOTHING]);
        for link in links {
            let last = between.last_mut().expect("it starts with one");
            let free = last.act.is_none() && last.scale == 1.0;
            match *link {
                Link::Conv { conv, channels } => {
                    let layer = Layer { conv, input, channels };
                    input = layer.output();
                    layers.push(layer);
                    between.push(Between::NOTHING);
                }
                Link::Norm if free && !last.norm => last.norm = true,
                Link::Act(act) if free => last.act = Some(act),
                Link::Scale(scale) => last.scale *= scale,
                Link::Norm | Link::Act(_) => {
                    return refuse(
                        "needs a convolution before its second batch norm, or one behind an activation or a factor",
                    );
                }
            }
        }
        if layers.is_empty() || layers.len() > LAYERS_MAX {
            return refuse(&format!("has {} convolutions: give it 1 to {LAYERS_MAX}", layers.len()));
        }
        Ok(Self { layers, between })
    }

    /// The map in front of convolution `l`, or the output where there is no such one.
    pub fn map(&self, l: usize) -> Shape {
        self.layers.get(l).map_or_else(|| self.output(), |layer| layer.input)
    }

    /// The chain's output.
    pub fn output(&self) -> Shape {
        self.layers.last().map_or(Shape::vector(0), Layer::output)
    }

    /// The maps that batch norms take.
    pub fn normed(&self) -> impl Iterator<Item = Shape> {
        self.between.iter().enumerate().filter(|(_, b)| b.norm).map(|(l, _)| self.map(l))
    }

    /// The maps in front of ReLUs that have masks: not the chain's own input, which a mask must not move.
    pub fn masked(&self) -> impl Iterator<Item = Shape> {
        self.between.iter().enumerate().skip(1).filter(|(_, b)| b.has_mask()).map(|(l, _)| self.map(l))
    }

    /// The maps that a chain makes anew in front of convolutions, where anything happens there.
    pub fn made(&self) -> impl Iterator<Item = Option<Shape>> {
        self.layers.iter().zip(&self.between).map(|(layer, b)| (!b.is_nothing()).then_some(layer.input))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Shape = Shape::map(2, 5, 5, 8);

    #[test]
    fn links_fall_between_their_convolutions() {
        let links =
            [Link::Norm, Link::RELU, Link::conv(3, 4), Link::Norm, Link::RELU, Link::conv(1, 8), Link::Scale(0.5)];
        let Layout { layers, between } = Layout::of(&links, MAP).expect("a layout");
        assert_eq!(layers.iter().map(Layer::output).collect::<Vec<_>>(), [Shape::map(2, 5, 5, 4), MAP]);
        let relu = Between { norm: true, act: Some(Activation::Relu), scale: 1.0 };
        assert_eq!(between, [relu, relu, Between { scale: 0.5, ..Between::NOTHING }]);
    }

    #[test]
    fn what_cannot_be_worked_through_is_refused_in_a_sentence() {
        for (links, word) in [
            (vec![Link::RELU], "0 convolutions"),
            (vec![Link::conv(3, 8); 10], "10 convolutions"),
            (vec![Link::conv(3, 8), Link::RELU, Link::Norm], "behind an activation"),
            (vec![Link::conv(3, 8), Link::Norm, Link::Norm], "second batch norm"),
        ] {
            let error = Layout::of(&links, MAP).expect_err("a refusal").to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
