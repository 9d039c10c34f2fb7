//! The walk over a net's tensors, and what it serves: the names by which checkpoints, tests and tools know them, export and import,
//! and an optimiser that starts from zero.
//!
//! In a net of one stack a block's tensors are `blocks.n....`; in a staged net `stages.s.blocks.n....`, beside those of
//! `stages.s.first` and `stages.s.shortcut`. One theta for all blocks of a stage is `blocks.shared....`, and has as many
//! running statistics `blocks.n....` as there are blocks.

use std::fmt;

use super::first::{First, Way};
use super::{Net, Stage, head, stem};
use crate::device::Device;
use crate::error::Result;
use crate::field::{Field, Tensors};
use crate::scheme::Averages;
use crate::sweep::Update;
use crate::tensor::Tensor;

/// What stands in a tensor's name for the number of its block where all blocks have one theta.
pub const SHARED: &str = "shared";

/// What stands before the name of a parameter or a running statistic in that of its average.
pub const AVERAGE: &str = "average.";

/// What a tensor is to its net.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Parameter,
    /// A running statistic.
    Running,
    /// SGD's velocity, or AdamW's mean of the gradients.
    Velocity,
    /// AdamW's mean of their squares.
    SecondMoment,
    /// AdamW's count of steps.
    Count,
    /// The sum of gradients over the batches of a step, where it has several.
    Sum,
    /// The average over steps of a parameter or a running statistic.
    Average,
    /// Those of residual blocks only where updates come after the sweep, and each batch is a step.
    Gradient,
}

impl Role {
    /// What stands before the names of such tensors.
    const fn name(self) -> &'static str {
        match self {
            Self::Velocity => "velocity.",
            Self::SecondMoment => "second_moment.",
            Self::Count => "optimiser.",
            Self::Sum => "gradient_sum.",
            Self::Average => AVERAGE,
            Self::Parameter | Self::Running | Self::Gradient => "",
        }
    }
}

/// What a checkpoint holds, in the order that it has there.
const CHECKPOINTED: [&[Role]; 6] = [
    &[Role::Parameter, Role::Running],
    &[Role::Velocity],
    &[Role::SecondMoment],
    &[Role::Count],
    &[Role::Sum],
    &[Role::Average],
];

/// Whether a tensor of a checkpoint that has this name belongs to training, and to no net that only answers.
pub fn is_optimisers(name: &str) -> bool {
    CHECKPOINTED[1..].iter().flat_map(|roles| *roles).any(|role| name.starts_with(role.name()))
}

/// What is done with each tensor and its name.
type Visit<'v, 'a, B> = dyn FnMut(&str, &'a Tensor<B>) -> Result<()> + 'v;

const PUSHED: &str = "pushing does not fail";

/// The walk: shows `visit` every tensor of these roles with its name. Rust needs it once for reading and once for writing.
macro_rules! walk {
    ($walk:ident: $named:ident $iter:ident $ways:ident $of_parameters:ident $($mut:ident)?) => {
        fn $walk<'a>(
            &'a $($mut)? self,
            roles: &[Role],
            visit: &mut dyn FnMut(Role, String, &'a $($mut)? Tensor<D::Buffer>) -> Result<()>,
        ) -> Result<()> {
            let Self { spec, stem, head, stages, count, .. } = self;
            let mut set = |
                role: Role,
                prefix: fmt::Arguments<'_>,
                tensors: &mut dyn Iterator<Item = (&'static str, &'a $($mut)? Tensor<D::Buffer>)>,
            | {
                if roles.contains(&role) {
                    for (name, tensor) in tensors {
                        visit(role, format!("{}{prefix}{name}", role.name()), tensor)?;
                    }
                }
                Ok(())
            };
            let (of_stem, of_head) = (&$($mut)? stem.weights, &$($mut)? head.weights);
            set(Role::Parameter, format_args!("{}", stem::NAME), &mut of_stem.theta.$named())?;
            set(Role::Parameter, format_args!("{}", head::NAME), &mut of_head.theta.$named())?;
            set(Role::Running, format_args!("{}", stem::NAME), &mut stem.running.$named())?;
            set(Role::Velocity, format_args!("{}", stem::NAME), &mut of_stem.velocity.$named())?;
            set(Role::Velocity, format_args!("{}", head::NAME), &mut of_head.velocity.$named())?;
            let seconds = of_stem.second.$iter().flat_map(|second| second.$named());
            set(Role::SecondMoment, format_args!("{}", stem::NAME), &mut seconds.into_iter())?;
            let seconds = of_head.second.$iter().flat_map(|second| second.$named());
            set(Role::SecondMoment, format_args!("{}", head::NAME), &mut seconds.into_iter())?;
            let sums = of_stem.sum.$iter().flat_map(|sum| sum.$named());
            set(Role::Sum, format_args!("{}", stem::NAME), &mut sums.into_iter())?;
            let sums = of_head.sum.$iter().flat_map(|sum| sum.$named());
            set(Role::Sum, format_args!("{}", head::NAME), &mut sums.into_iter())?;
            let averages = of_stem.average.$iter().flat_map(|average| average.$named());
            set(Role::Average, format_args!("{}", stem::NAME), &mut averages.into_iter())?;
            let averages = of_head.average.$iter().flat_map(|average| average.$named());
            set(Role::Average, format_args!("{}", head::NAME), &mut averages.into_iter())?;
            let averages = stem.running_average.$iter().flat_map(|average| average.$named());
            set(Role::Average, format_args!("{}", stem::NAME), &mut averages.into_iter())?;
            set(Role::Count, format_args!(""), &mut count.$iter().map(|count| ("count", count)))?;
            set(Role::Gradient, format_args!("{}", stem::NAME), &mut of_stem.grad.$named())?;
            set(Role::Gradient, format_args!("{}", head::NAME), &mut of_head.grad.$named())?;
            for (s, Stage { first, stack, work, .. }) in stages.$iter().enumerate() {
                let stage = if spec.body.stages.is_some() { format!("stages.{s}.") } else { String::new() };
                for (way, Way { weights, running, running_average, .. }) in first.$iter().flat_map(First::$ways) {
                    set(Role::Parameter, format_args!("{stage}{way}"), &mut weights.theta.$named())?;
                    set(Role::Running, format_args!("{stage}{way}"), &mut running.$named())?;
                    set(Role::Velocity, format_args!("{stage}{way}"), &mut weights.velocity.$named())?;
                    let seconds = weights.second.$iter().flat_map(|second| second.$named());
                    set(Role::SecondMoment, format_args!("{stage}{way}"), &mut seconds.into_iter())?;
                    let sums = weights.sum.$iter().flat_map(|sum| sum.$named());
                    set(Role::Sum, format_args!("{stage}{way}"), &mut sums.into_iter())?;
                    let averages = weights.average.$iter().flat_map(|average| average.$named());
                    set(Role::Average, format_args!("{stage}{way}"), &mut averages.into_iter())?;
                    let averages = running_average.$iter().flat_map(|average| average.$named());
                    set(Role::Average, format_args!("{stage}{way}"), &mut averages.into_iter())?;
                    set(Role::Gradient, format_args!("{stage}{way}"), &mut weights.grad.$named())?;
                }
                let block = |n: usize| if spec.body.tied { SHARED.to_string() } else { n.to_string() };
                let mut thetas = stack.theta.$iter();
                for (n, running) in stack.running.$iter().enumerate() {
                    if let Some(theta) = thetas.next() {
                        set(Role::Parameter, format_args!("{stage}blocks.{}.", block(n)), &mut theta.$named())?;
                    }
                    set(Role::Running, format_args!("{stage}blocks.{n}."), &mut running.$named())?;
                }
                for (n, velocity) in stack.velocity.$iter().enumerate() {
                    set(Role::Velocity, format_args!("{stage}blocks.{}.", block(n)), &mut velocity.$named())?;
                }
                for (n, second) in stack.second.$iter().enumerate() {
                    set(Role::SecondMoment, format_args!("{stage}blocks.{}.", block(n)), &mut second.$named())?;
                }
                for Averages { theta: thetas, running: runnings } in stack.averages.$iter() {
                    for (n, theta) in thetas.$iter().enumerate() {
                        set(Role::Average, format_args!("{stage}blocks.{}.", block(n)), &mut theta.$named())?;
                    }
                    for (n, running) in runnings.$iter().enumerate() {
                        set(Role::Average, format_args!("{stage}blocks.{n}."), &mut running.$named())?;
                    }
                }
                // the sums are what a step takes, where there are such
                let of_step = if spec.recipe.accumulates { Role::Sum } else { Role::Gradient };
                if spec.recipe.accumulates || spec.sweep.update == Update::After {
                    for (n, grad) in work.grads.$of_parameters().enumerate() {
                        set(of_step, format_args!("{stage}blocks.{}.", block(n)), &mut grad.$named())?;
                    }
                }
            }
            Ok(())
        }
    };
}

impl<D: Device, F: Field<D>> Net<D, F> {
    walk!(walk: named iter ways of_parameters);
    walk!(walk_mut: named_mut iter_mut ways_mut of_parameters_mut mut);

    /// Visits every tensor that a checkpoint holds with its name, in a fixed order: parameters, running statistics,
    /// velocities, AdamW's second moments and count of steps, sums of gradients, and averages.
    ///
    /// # Errors
    /// The visitor's.
    pub fn each_checkpointed<'a>(&'a self, visit: &mut Visit<'_, 'a, D::Buffer>) -> Result<()> {
        for roles in CHECKPOINTED {
            self.walk(roles, &mut |_, name, tensor| visit(&name, tensor))?;
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
        listed.expect(PUSHED);
        all
    }

    /// The same tensors, to be written.
    pub fn checkpointed_mut(&mut self) -> Vec<(String, &mut Tensor<D::Buffer>)> {
        let mut lists = CHECKPOINTED.map(|_| Vec::new());
        let listed = self.walk_mut(&CHECKPOINTED.concat(), &mut |role, name, tensor| {
            if let Some(list) = CHECKPOINTED.iter().position(|roles| roles.contains(&role)) {
                lists[list].push((name, tensor));
            }
            Ok(())
        });
        listed.expect(PUSHED);
        lists.into_iter().flatten().collect()
    }

    /// Every gradient with its parameter's name; those of residual blocks only where updates come after the sweep.
    pub fn gradients(&self) -> Vec<(String, &Tensor<D::Buffer>)> {
        let mut all = Vec::new();
        let listed = self.walk(&[Role::Gradient], &mut |_, name, tensor| {
            all.push((name, tensor));
            Ok(())
        });
        listed.expect(PUSHED);
        all
    }

    /// The optimiser as it is at the start.
    pub(super) fn rest(&mut self, d: &D) -> Result<()> {
        let roles = [Role::Velocity, Role::SecondMoment, Role::Count, Role::Sum];
        self.walk_mut(&roles, &mut |_, _, tensor| d.fill(0.0, tensor))
    }
}
