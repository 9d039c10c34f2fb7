//! The names by which checkpoints, tests and tools know a net's tensors.
//!
//! In a net of one stack a block's tensors are `blocks.n....`; in a staged net `stages.s.blocks.n....`, beside those of
//! `stages.s.first` and `stages.s.shortcut`. One theta for all blocks of a stage is `blocks.shared....`, and has as many
//! running statistics `blocks.n....` as there are blocks.

use super::{Net, Stage};
use crate::device::Device;
use crate::error::Result;
use crate::field::{Field, Tensors};
use crate::sweep::Update;
use crate::tensor::Tensor;

/// What stands in a tensor's name for the number of its block where all blocks have one theta.
pub const SHARED: &str = "shared";

/// The names before a block's own: `stages.1.blocks.3.`.
struct Prefix {
    stage: String,
    tied: bool,
}

/// What is done with each tensor and its name.
type Visit<'v, 'a, B> = dyn FnMut(&str, &'a Tensor<B>) -> Result<()> + 'v;

impl Prefix {
    fn theta(&self, n: usize) -> String {
        let Self { stage, tied } = self;
        if *tied { format!("{stage}blocks.{SHARED}.") } else { self.block(n) }
    }

    fn block(&self, n: usize) -> String {
        format!("{}blocks.{n}.", self.stage)
    }
}

impl<D: Device, F: Field<D>> Net<D, F> {
    fn prefix(&self, s: usize) -> Prefix {
        let stage = if self.spec.body.stages.is_some() { format!("stages.{s}.") } else { String::new() };
        Prefix { stage, tied: self.spec.body.tied }
    }

    /// Visits every tensor that a checkpoint holds with its name, in a fixed order: parameters, running statistics, and
    /// velocities.
    ///
    /// # Errors
    /// The visitor's.
    pub fn each_checkpointed<'a>(&'a self, visit: &mut Visit<'_, 'a, D::Buffer>) -> Result<()> {
        let running_ends =
            [("stem.bn.running_mean", &self.stem_running.mean), ("stem.bn.running_var", &self.stem_running.var)];
        for (name, tensor) in self.ends.named().into_iter().chain(running_ends) {
            visit(name, tensor)?;
        }
        for (s, Stage { first, stack, .. }) in self.stages.iter().enumerate() {
            let prefix = self.prefix(s);
            for (name, tensor) in first.iter().flat_map(|first| first.named()) {
                visit(&format!("{}{name}", prefix.stage), tensor)?;
            }
            for (n, running) in stack.running.iter().enumerate() {
                for (name, tensor) in stack.theta.get(n).into_iter().flat_map(Tensors::named) {
                    visit(&format!("{}{name}", prefix.theta(n)), tensor)?;
                }
                for (name, tensor) in running.named() {
                    visit(&format!("{}{name}", prefix.block(n)), tensor)?;
                }
            }
        }
        for (name, tensor) in self.ends_velocity.named() {
            visit(&format!("velocity.{name}"), tensor)?;
        }
        for (s, Stage { first, stack, .. }) in self.stages.iter().enumerate() {
            let prefix = self.prefix(s);
            for (name, tensor) in first.iter().flat_map(|first| first.velocities()) {
                visit(&format!("velocity.{}{name}", prefix.stage), tensor)?;
            }
            for (n, velocity) in stack.velocity.iter().enumerate() {
                for (name, tensor) in velocity.named() {
                    visit(&format!("velocity.{}{name}", prefix.theta(n)), tensor)?;
                }
            }
        }
        Ok(())
    }

    /// The same tensors in a list.
    pub fn checkpointed(&self) -> Vec<(String, &Tensor<D::Buffer>)> {
        let mut all = Vec::new();
        let listed = self.each_checkpointed(&mut |name, tensor| {
            all.push((name.to_string(), tensor));
            Ok(())
        });
        listed.expect("pushing does not fail");
        all
    }

    /// The same tensors, to be written.
    pub fn checkpointed_mut(&mut self) -> Vec<(String, &mut Tensor<D::Buffer>)> {
        let prefixes: Vec<Prefix> = (0..self.stages.len()).map(|s| self.prefix(s)).collect();
        let mut all: Vec<(String, &mut Tensor<D::Buffer>)> = Vec::new();
        all.extend(self.ends.named_mut().map(|(name, tensor)| (name.to_string(), tensor)));
        all.push(("stem.bn.running_mean".into(), &mut self.stem_running.mean));
        all.push(("stem.bn.running_var".into(), &mut self.stem_running.var));
        let mut velocities: Vec<(String, &mut Tensor<D::Buffer>)> = Vec::new();
        for (prefix, Stage { first, stack, .. }) in prefixes.iter().zip(&mut self.stages) {
            if let Some(first) = first {
                let [weights, moving] = first.all_mut();
                all.extend(weights.into_iter().map(|(name, tensor)| (format!("{}{name}", prefix.stage), tensor)));
                velocities.extend(
                    moving.into_iter().map(|(name, tensor)| (format!("velocity.{}{name}", prefix.stage), tensor)),
                );
            }
            let mut theta = stack.theta.iter_mut();
            for (n, running) in stack.running.iter_mut().enumerate() {
                let theta = theta.next().into_iter().flat_map(Tensors::named_mut);
                all.extend(theta.map(|(name, tensor)| (format!("{}{name}", prefix.theta(n)), tensor)));
                all.extend(running.named_mut().map(|(name, tensor)| (format!("{}{name}", prefix.block(n)), tensor)));
            }
            for (n, velocity) in stack.velocity.iter_mut().enumerate() {
                let name = |name| format!("velocity.{}{name}", prefix.theta(n));
                velocities.extend(velocity.named_mut().map(|(own, tensor)| (name(own), tensor)));
            }
        }
        all.extend(self.ends_velocity.named_mut().map(|(name, tensor)| (format!("velocity.{name}"), tensor)));
        all.extend(velocities);
        all
    }

    /// Every gradient with its parameter's name; those of residual blocks only where updates come after the sweep.
    pub fn gradients(&self) -> Vec<(String, &Tensor<D::Buffer>)> {
        let mut all: Vec<(String, &Tensor<D::Buffer>)> = Vec::new();
        all.extend(self.ends_grad.named().map(|(name, tensor)| (name.to_string(), tensor)));
        for (s, Stage { first, work, .. }) in self.stages.iter().enumerate() {
            let prefix = self.prefix(s);
            let first = first.iter().flat_map(|first| first.gradients());
            all.extend(first.map(|(name, tensor)| (format!("{}{name}", prefix.stage), tensor)));
            if self.spec.sweep.update == Update::After {
                for (n, grad) in work.grads.of_parameters().enumerate() {
                    all.extend(grad.named().map(|(name, tensor)| (format!("{}{name}", prefix.theta(n)), tensor)));
                }
            }
        }
        all
    }
}
