//! Runs of blocks on small maps, each as one cooperative launch: what small_block.cu is told of a run's tensors.
//!
//! A kernel knows the first block's addresses and how far on the next block's lie. Blocks are made one after another, each of the same
//! tensors, so that this distance is the same for all; where it changes, as codes' does in the mode `auto`, another launch begins.

use cudarc::driver::DeviceRepr;

use super::buffer::CudaBuffer;
use super::small_block::{Coded, Form, Norms, Theta};
use super::{Cuda, at, part};
use crate::device::Basic;
use crate::error::Result;
use crate::operands::BasicTheta;
use crate::sweep::run::{BackRun, CodedForward, ForwardRun, Rebuilt, SgdRun, errors_of, slot};

/// The struct `ForwardRun` of small_block.cuh.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Forward {
    pub theta: Theta,
    pub stats: Norms,
    pub running: Norms,
    pub theta_step: i64,
    pub stats_step: i64,
    pub running_step: i64,
    pub code_step: i64,
    pub blocks: u32,
    pub unused: u32,
}

/// The struct `BackRun` of small_block.cuh.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Back {
    pub theta: Theta,
    pub velocity: Theta,
    pub grad: Theta,
    pub stats: Norms,
    pub theta_step: i64,
    pub velocity_step: i64,
    pub grad_step: i64,
    pub stats_step: i64,
    pub code_step: i64,
    pub errors_step: i64,
    /// The learning rate; 0 where weights stay.
    pub rate: u64,
    /// 0 where nobody asks.
    pub verdict: u64,
    pub momentum: f32,
    pub decay: f32,
    pub norm_decay: f32,
    pub nesterov: u32,
    pub blocks: u32,
    pub held: u32,
}

// SAFETY: plain numbers in the order of small_block.cuh, which asserts the sizes too; copied by value.
unsafe impl DeviceRepr for Forward {}
// SAFETY: as above.
unsafe impl DeviceRepr for Back {}
const _: () = assert!(size_of::<Forward>() == 152 && size_of::<Back>() == 264);

impl Forward {
    /// One block.
    pub const fn one(theta: Theta, stats: Norms, running: Norms) -> Forward {
        let (theta_step, stats_step, running_step, code_step) = (0, 0, 0, 0);
        Forward { theta, stats, running, theta_step, stats_step, running_step, code_step, blocks: 1, unused: 0 }
    }
}

impl Back {
    /// One block, whose weights stay.
    pub const fn one(theta: Theta, grad: Theta, stats: Norms) -> Back {
        Back {
            theta,
            velocity: grad,
            grad,
            stats,
            theta_step: 0,
            velocity_step: 0,
            grad_step: 0,
            stats_step: 0,
            code_step: 0,
            errors_step: 0,
            rate: 0,
            verdict: 0,
            momentum: 0.0,
            decay: 0.0,
            norm_decay: 0.0,
            nesterov: 0,
            blocks: 1,
            held: 0,
        }
    }

    /// The same, whose weights move.
    fn moving(self, sgd: &SgdRun<'_, CudaBuffer>) -> Back {
        let SgdRun { lr, momentum, nesterov, weight_decay, decay } = *sgd;
        let (momentum, nesterov) = (momentum as f32, u32::from(nesterov));
        let [weights, norms] = [true, false].map(|is_weight| decay.on(is_weight, weight_decay) as f32);
        Back { rate: at(lr), momentum, decay: weights, norm_decay: norms, nesterov, ..self }
    }
}

/// Addresses of what all blocks have, block by block in the order of a pass.
struct Walk<'a> {
    groups: &'a [&'a dyn Fn(usize) -> Vec<u64>],
    count: usize,
}

impl Walk<'_> {
    /// From block `from` on: how many blocks lie evenly, and in each group how many floats there are from one to the next.
    fn even<const GROUPS: usize>(&self, from: usize) -> (usize, [i64; GROUPS]) {
        let step = |a: u64, b: u64| (b as i64 - a as i64) / size_of::<f32>() as i64;
        let mut blocks = self.count - from;
        let mut steps = [0; GROUPS];
        for (of, to) in self.groups.iter().zip(&mut steps) {
            if blocks < 2 {
                break;
            }
            let (mut before, second) = (of(from), of(from + 1));
            *to = before.first().zip(second.first()).map_or(0, |(a, b)| step(*a, *b));
            for i in 1..blocks {
                let next = of(from + i);
                if before.iter().zip(&next).any(|(a, b)| step(*a, *b) != *to) {
                    blocks = i;
                    break;
                }
                before = next;
            }
        }
        (blocks, steps)
    }
}

/// A run of the forward pass.
pub fn forward(d: &Cuda, form: Form, run: ForwardRun<'_, Cuda, Basic>) -> Result<()> {
    let ForwardRun { h, theta, stats, running, x, coded, scratch } = run;
    let (x, workspace) = (at(x), scratch.workspace.address());
    let theta_of = |i: usize| Theta::of(&theta[i]);
    let stats_of = |i: usize| Norms::stats(&stats[i].stages[0]);
    let running_of = |i: usize| Norms::running(&running[i]);
    let code_of = |i: usize| coded.as_ref().map(|of| Coded::new(d, form, of.coder, &of.codes[slot(of.ways[i])]));
    let walk = Walk {
        groups: &[
            &|i| theta_of(i).addresses().to_vec(),
            &|i| stats_of(i).addresses().to_vec(),
            &|i| running_of(i).addresses().to_vec(),
            &|i| code_of(i).map_or(Vec::new(), |code| code.addresses().to_vec()),
        ],
        count: theta.len(),
    };
    let mut from = 0;
    while from < theta.len() {
        let (blocks, [theta_step, stats_step, running_step, code_step]) = walk.even(from);
        let steps = Forward {
            theta_step,
            stats_step,
            running_step,
            code_step,
            blocks: blocks as u32,
            ..Forward::one(theta_of(from), stats_of(from), running_of(from))
        };
        match (&coded, code_of(from)) {
            (Some(CodedForward { carry, .. }), Some(code)) => {
                form.code_step(d, h, steps, code, x, at(carry), workspace)?;
            }
            _ => form.euler_step(d, h, steps, x, workspace)?,
        }
        from += blocks;
    }
    Ok(())
}

/// A run of the way back. `held`: whether x and g stay in shared memory.
pub fn back(d: &Cuda, form: Form, held: bool, run: BackRun<'_, Cuda, Basic>) -> Result<()> {
    let BackRun { h, theta, velocity, grads, stats, first, x, grad, rebuilt, verdict, sgd, scratch } = run;
    let (x, grad, workspace, count) = (at(x), at(grad), scratch.workspace.address(), theta.len());
    // the i-th that is passed
    let down = |i: usize| count - 1 - i;
    let of = |from: &[BasicTheta<CudaBuffer>], i: usize| Theta::of(&from[down(i)]);
    let grad_of = |i: usize| Theta::of(&grads[(first + down(i)) % grads.len()]);
    let stats_of = |i: usize| Norms::stats(&stats[down(i)].stages[0]);
    let code_of = |i: usize| match &rebuilt {
        Rebuilt::Decoded { coder, codes, ways } => Some(Coded::new(d, form, coder, &codes[slot(ways[down(i)])])),
        Rebuilt::Reversed { .. } => None,
    };
    let walk = Walk {
        groups: &[
            &|i| of(theta, i).addresses().to_vec(),
            &|i| of(velocity, i).addresses().to_vec(),
            &|i| grad_of(i).addresses().to_vec(),
            &|i| stats_of(i).addresses().to_vec(),
            &|i| code_of(i).map_or(Vec::new(), |code| code.addresses().to_vec()),
        ],
        count,
    };
    let mut from = 0;
    while from < count {
        let (blocks, [theta_step, velocity_step, grad_step, stats_step, code_step]) = walk.even(from);
        let steps = Back {
            velocity: of(velocity, from),
            theta_step,
            velocity_step,
            grad_step,
            stats_step,
            code_step,
            errors_step: -(errors_of(1) as i64),
            verdict: at(verdict),
            blocks: blocks as u32,
            held: u32::from(held && blocks > 1),
            ..Back::one(of(theta, from), grad_of(from), stats_of(from))
        };
        let steps = sgd.as_ref().map_or(steps, |sgd| steps.moving(sgd));
        match (&rebuilt, code_of(from)) {
            (Rebuilt::Reversed { carry, errors }, _) => {
                let row = part(errors, errors_of(first + down(from)));
                form.inverse_vjp(d, h, *carry, steps, x, row, grad, workspace)?;
            }
            (Rebuilt::Decoded { .. }, Some(code)) => form.decode_vjp(d, h, steps, code, x, grad, workspace)?,
            (Rebuilt::Decoded { .. }, None) => unreachable!("a coded run has codes"),
        }
        from += blocks;
    }
    Ok(())
}
