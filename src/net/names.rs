//! The names by which checkpoints, tests and tools know a net's tensors.

use super::Net;
use crate::device::Device;
use crate::error::Result;
use crate::scheme::Stack;
use crate::sweep::Update;
use crate::tensor::Tensor;

impl<D: Device> Net<D> {
    /// Visits every tensor that a checkpoint holds with its name, in a fixed order: parameters, running statistics, and
    /// velocities.
    ///
    /// # Errors
    /// The visitor's.
    pub fn each_checkpointed<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Tensor<D>) -> Result<()>) -> Result<()> {
        let Stack { theta, running, velocity, .. } = &self.stack;
        let running_ends =
            [("stem.bn.running_mean", &self.stem_running.mean), ("stem.bn.running_var", &self.stem_running.var)];
        for (name, tensor) in self.ends.named().into_iter().chain(running_ends) {
            visit(name, tensor)?;
        }
        for (n, (theta, running)) in theta.iter().zip(running).enumerate() {
            for (name, tensor) in theta.named().into_iter().chain(running.named()) {
                visit(&format!("blocks.{n}.{name}"), tensor)?;
            }
        }
        for (name, tensor) in self.ends_velocity.named() {
            visit(&format!("velocity.{name}"), tensor)?;
        }
        for (n, velocity) in velocity.iter().enumerate() {
            for (name, tensor) in velocity.named() {
                visit(&format!("velocity.blocks.{n}.{name}"), tensor)?;
            }
        }
        Ok(())
    }

    /// The same tensors in a list.
    pub fn checkpointed(&self) -> Vec<(String, &Tensor<D>)> {
        let mut all = Vec::new();
        let listed = self.each_checkpointed(&mut |name, tensor| {
            all.push((name.to_string(), tensor));
            Ok(())
        });
        listed.expect("pushing does not fail");
        all
    }

    /// The same tensors, to be written.
    pub fn checkpointed_mut(&mut self) -> Vec<(String, &mut Tensor<D>)> {
        let mut all: Vec<(String, &mut Tensor<D>)> = Vec::new();
        all.extend(self.ends.named_mut().map(|(name, tensor)| (name.to_string(), tensor)));
        all.push(("stem.bn.running_mean".into(), &mut self.stem_running.mean));
        all.push(("stem.bn.running_var".into(), &mut self.stem_running.var));
        let Stack { theta, running, velocity, .. } = &mut self.stack;
        for (n, (theta, running)) in theta.iter_mut().zip(running).enumerate() {
            all.extend(theta.named_mut().map(|(name, tensor)| (format!("blocks.{n}.{name}"), tensor)));
            all.extend(running.named_mut().map(|(name, tensor)| (format!("blocks.{n}.{name}"), tensor)));
        }
        all.extend(self.ends_velocity.named_mut().map(|(name, tensor)| (format!("velocity.{name}"), tensor)));
        for (n, velocity) in velocity.iter_mut().enumerate() {
            all.extend(velocity.named_mut().map(|(name, tensor)| (format!("velocity.blocks.{n}.{name}"), tensor)));
        }
        all
    }

    /// Every gradient with its parameter's name; those of blocks only where updates come after the sweep.
    pub fn gradients(&self) -> Vec<(String, &Tensor<D>)> {
        let mut all: Vec<(String, &Tensor<D>)> = Vec::new();
        all.extend(self.ends_grad.named().map(|(name, tensor)| (name.to_string(), tensor)));
        if self.spec.sweep.update == Update::After {
            for (n, grad) in self.work.grads.slots.iter().enumerate() {
                all.extend(grad.named().map(|(name, tensor)| (format!("blocks.{n}.{name}"), tensor)));
            }
        }
        all
    }
}
