//! The CPU device with a clock around every operation.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use rewind::code::{Code, Coder};
use rewind::cpu::Cpu;
use rewind::data::{Dataset, Held, Part as Split, Place};
use rewind::device::{Device, PassPosition, Sgd};
use rewind::host::HostRegion;
use rewind::operands::{
    Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, BnRunning, BnStats, Carry, Measure, Scratch,
};
use rewind::shape::{Conv, Shape};
use rewind::tensor::Tensor;
use rewind::{Result, fused};

use crate::cost::{Cost, block_cost, conv_cost, linear_cost, sgd_cost};
use crate::grain::Grain;
use crate::ledger::Ledger;
use crate::lend::{Part, lend, lend_measure, lend_mut, measure};

/// The CPU device, whose operations are timed one by one.
pub struct Timed {
    cpu: Cpu,
    grain: Grain,
    ledger: Mutex<Ledger>,
}

impl Timed {
    /// A clock around a device.
    pub fn new(cpu: Cpu, grain: Grain) -> Self {
        Self { cpu, grain, ledger: Mutex::default() }
    }

    /// What was noted since the last call.
    pub fn take(&self) -> Ledger {
        std::mem::take(&mut *self.ledger())
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nobody panics while holding it")
    }

    fn time(&self, operation: &'static str, cost: Cost, run: impl FnOnce(&Cpu) -> Result<()>) -> Result<()> {
        let start = Instant::now();
        run(&self.cpu)?;
        self.ledger().add(operation, cost, start);
        Ok(())
    }
}

impl Device for Timed {
    type Real = f32;
    type Region = Arc<HostRegion<f32>>;
    type Buffer = Part;
    type Recording = ();
    type Data = Held;

    // for the definitions in primitives; the CPU itself needs none
    const SCRATCH_MAPS: usize = 2;
    const STEPS_AHEAD: usize = Cpu::STEPS_AHEAD;

    fn name(&self) -> String {
        self.cpu.name()
    }

    fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.cpu.install(f)
    }

    fn phase<R>(&self, name: &'static str, f: impl FnOnce() -> R) -> R {
        let outer = self.ledger().enter(name);
        let result = f();
        self.ledger().enter(outer);
        result
    }

    fn reserve(&self, len: usize) -> Result<Self::Region> {
        self.cpu.reserve(len).map(Arc::new)
    }

    unsafe fn carve(&self, region: &Self::Region, offset: usize, len: usize) -> Part {
        Part { region: Arc::clone(region), offset, len }
    }

    fn upload(&self, from: &[f32], to: &mut Tensor<Self>) -> Result<()> {
        self.cpu.upload(from, &mut lend_mut(&self.cpu, to))
    }

    fn download(&self, from: &Tensor<Self>, to: &mut [f32]) -> Result<()> {
        self.cpu.download(&lend(&self.cpu, from), to)
    }

    fn hold(&self, dataset: Arc<Dataset>) -> Result<Held> {
        self.cpu.hold(dataset)
    }

    fn write_table(&self, data: &mut Held, table: usize, write: impl FnOnce(&mut [Place])) -> Result<()> {
        self.cpu.write_table(data, table, write)
    }

    fn choose_table(&self, data: &mut Held, table: usize, chosen: &mut Tensor<Self>) -> Result<()> {
        self.cpu.choose_table(data, table, &mut lend_mut(&self.cpu, chosen))
    }

    fn draw_batch(
        &self,
        data: &Held,
        part: Split,
        position: PassPosition<'_, Self>,
        images: &mut Tensor<Self>,
        labels: &mut Tensor<Self>,
    ) -> Result<()> {
        self.time("draw_batch", Cost::of(&[images.shape()]), |d| {
            let PassPosition { step, table, batch } = position;
            let (step, table) = (lend(d, step), lend(d, table));
            let position = PassPosition { step: &step, table: &table, batch };
            d.draw_batch(data, part, position, &mut lend_mut(d, images), &mut lend_mut(d, labels))
        })
    }

    fn record_step(
        &self,
        outcome: &Tensor<Self>,
        distance: Option<&Tensor<Self>>,
        always: bool,
        results: &mut Tensor<Self>,
        step_acc: &mut Tensor<Self>,
    ) -> Result<()> {
        self.time("record_step", Cost::of(&[results.shape()]), |d| {
            let distance = distance.map(|distance| lend(d, distance));
            let (mut results, mut step) = (lend_mut(d, results), lend_mut(d, step_acc));
            d.record_step(&lend(d, outcome), distance.as_deref(), always, &mut results, &mut step)
        })
    }

    fn squared_distance_workspace(&self, x: Shape) -> usize {
        self.cpu.squared_distance_workspace(x)
    }

    fn all_finite(&self, x: &Tensor<Self>) -> Result<bool> {
        self.cpu.all_finite(&lend(&self.cpu, x))
    }

    fn conv_workspace(&self, x: Shape, conv: Conv, c_out: usize) -> usize {
        self.cpu.conv_workspace(x, conv, c_out)
    }

    fn bn_workspace(&self, z: Shape) -> usize {
        self.cpu.bn_workspace(z)
    }

    fn block_workspace(&self, map: Shape) -> usize {
        self.cpu.block_workspace(map)
    }

    fn bn_stats(&self, z: &Tensor<Self>, to: Measure<'_, Self>, workspace: &mut Part) -> Result<()> {
        self.time("bn_stats", Cost::of(&[z.shape()]), |d| {
            let mut to = lend_measure(d, to);
            d.bn_stats(&lend(d, z), measure(&mut to), &mut lend_mut(d, workspace))
        })
    }

    fn sgd(
        &self,
        step: Sgd<'_, Self>,
        grad: &Tensor<Self>,
        velocity: &mut Tensor<Self>,
        theta: &mut Tensor<Self>,
    ) -> Result<()> {
        self.time("sgd", sgd_cost(theta.shape()), |d| {
            let Sgd { lr, loss, momentum, weight_decay } = step;
            let (lr, loss) = (lend(d, lr), lend(d, loss));
            let step = Sgd { lr: &*lr, loss: &*loss, momentum, weight_decay };
            d.sgd(step, &lend(d, grad), &mut lend_mut(d, velocity), &mut lend_mut(d, theta))
        })
    }

    fn sgd_block(
        &self,
        step: Sgd<'_, Self>,
        grad: &BasicTheta<Self>,
        velocity: &mut BasicTheta<Self>,
        theta: &mut BasicTheta<Self>,
    ) -> Result<()> {
        if self.grain.parts_all() {
            return fused::sgd_block(self, step, grad, velocity, theta);
        }
        let of = theta.named().map(|(_, tensor)| sgd_cost(tensor.shape()).bytes);
        let cost = Cost { flop: 0, bytes: of.into_iter().sum() };
        self.time("sgd_block", cost, |d| {
            let Sgd { lr, loss, momentum, weight_decay } = step;
            let (lr, loss) = (lend(d, lr), lend(d, loss));
            let step = Sgd { lr: &*lr, loss: &*loss, momentum, weight_decay };
            d.sgd_block(step, &lend(d, grad), &mut lend_mut(d, velocity), &mut lend_mut(d, theta))
        })
    }

    fn conv_stats(
        &self,
        x: &Tensor<Self>,
        w: &Tensor<Self>,
        conv: Conv,
        z: &mut Tensor<Self>,
        to: Option<Measure<'_, Self>>,
        workspace: &mut Part,
    ) -> Result<()> {
        if self.grain.parts_all() {
            return fused::conv_stats(self, x, w, conv, z, to, workspace);
        }
        let cost = conv_cost(conv, x.shape(), w.shape(), &[x.shape(), w.shape(), z.shape()]);
        self.time("conv_stats", cost, |d| {
            let mut to = to.map(|to| lend_measure(d, to));
            let (x, w, mut z, mut workspace) = (lend(d, x), lend(d, w), lend_mut(d, z), lend_mut(d, workspace));
            d.conv_stats(&x, &w, conv, &mut z, to.as_mut().map(measure), &mut workspace)
        })
    }

    fn norm_relu_conv_stats(
        &self,
        z1: &Tensor<Self>,
        stats1: &BnStats<Self>,
        affine1: &Affine<Self>,
        w: &Tensor<Self>,
        z2: &mut Tensor<Self>,
        to: Option<Measure<'_, Self>>,
        scratch: &mut Scratch<Self>,
    ) -> Result<()> {
        if self.grain.parts_all() {
            return fused::norm_relu_conv_stats(self, z1, stats1, affine1, w, z2, to, scratch);
        }
        let cost = block_cost(1, z1.shape(), w.shape(), &[z1.shape(), w.shape(), z2.shape()]);
        self.time("norm_relu_conv_stats", cost, |d| {
            let mut to = to.map(|to| lend_measure(d, to));
            let (z1, stats1, affine1, w) = (lend(d, z1), lend(d, stats1), lend(d, affine1), lend(d, w));
            let (mut z2, mut scratch) = (lend_mut(d, z2), lend_mut(d, scratch));
            d.norm_relu_conv_stats(&z1, &stats1, &affine1, &w, &mut z2, to.as_mut().map(measure), &mut scratch)
        })
    }

    fn fill(&self, value: f64, y: &mut Tensor<Self>) -> Result<()> {
        let cost = Cost::of(&[y.shape()]);
        self.time("fill", cost, |d| {
            let mut y = lend_mut(d, y);
            d.fill(value, &mut y)
        })
    }

    fn copy(&self, x: &Tensor<Self>, y: &mut Tensor<Self>) -> Result<()> {
        let cost = Cost::of(&[x.shape(), y.shape()]);
        self.time("copy", cost, |d| {
            let x = lend(d, x);
            let mut y = lend_mut(d, y);
            d.copy(&x, &mut y)
        })
    }

    fn axpby(&self, a: f64, x: &Tensor<Self>, b: f64, y_acc: &mut Tensor<Self>) -> Result<()> {
        let cost = Cost::of(&[x.shape(), y_acc.shape(), y_acc.shape()]);
        self.time("axpby", cost, |d| {
            let x = lend(d, x);
            let mut y_acc = lend_mut(d, y_acc);
            d.axpby(a, &x, b, &mut y_acc)
        })
    }

    fn relu(&self, y: &mut Tensor<Self>) -> Result<()> {
        let cost = Cost::of(&[y.shape(), y.shape()]);
        self.time("relu", cost, |d| {
            let mut y = lend_mut(d, y);
            d.relu(&mut y)
        })
    }

    fn relu_grad(&self, y: &Tensor<Self>, grad: &mut Tensor<Self>) -> Result<()> {
        let cost = Cost::of(&[y.shape(), grad.shape(), grad.shape()]);
        self.time("relu_grad", cost, |d| {
            let y = lend(d, y);
            let mut grad = lend_mut(d, grad);
            d.relu_grad(&y, &mut grad)
        })
    }

    fn relu_mask(
        &self,
        z: &Tensor<Self>,
        stats: &BnStats<Self>,
        affine: &Affine<Self>,
        mask: &mut Tensor<Self>,
    ) -> Result<()> {
        self.time("relu_mask", Cost::of(&[z.shape(), mask.shape()]), |d| {
            let z = lend(d, z);
            let stats = lend(d, stats);
            let affine = lend(d, affine);
            let mut mask = lend_mut(d, mask);
            d.relu_mask(&z, &stats, &affine, &mut mask)
        })
    }

    fn relu_replay(
        &self,
        mask: &Tensor<Self>,
        stats: &BnStats<Self>,
        affine: &Affine<Self>,
        z_acc: &mut Tensor<Self>,
    ) -> Result<()> {
        let cost = Cost::of(&[mask.shape(), z_acc.shape(), z_acc.shape()]);
        self.time("relu_replay", cost, |d| {
            let mask = lend(d, mask);
            let stats = lend(d, stats);
            let affine = lend(d, affine);
            let mut z_acc = lend_mut(d, z_acc);
            d.relu_replay(&mask, &stats, &affine, &mut z_acc)
        })
    }

    fn squared_distance(
        &self,
        x: &Tensor<Self>,
        y: &Tensor<Self>,
        out: &mut Tensor<Self>,
        at: usize,
        workspace: &mut Part,
    ) -> Result<()> {
        let cost = Cost::of(&[x.shape(), y.shape()]);
        self.time("squared_distance", cost, |d| {
            let x = lend(d, x);
            let y = lend(d, y);
            let mut out = lend_mut(d, out);
            let mut workspace = lend_mut(d, workspace);
            d.squared_distance(&x, &y, &mut out, at, &mut workspace)
        })
    }

    fn code_start(&self, x_acc: &mut Tensor<Self>, grid: &mut Tensor<Self>, workspace: &mut Part) -> Result<()> {
        self.time("code_start", Cost::of(&[x_acc.shape(), x_acc.shape(), x_acc.shape()]), |d| {
            d.code_start(&mut lend_mut(d, x_acc), &mut lend_mut(d, grid), &mut lend_mut(d, workspace))
        })
    }

    fn code_round(&self, grid: &Tensor<Self>, x_acc: &mut Tensor<Self>) -> Result<()> {
        self.time("code_round", Cost::of(&[x_acc.shape(), x_acc.shape()]), |d| {
            d.code_round(&lend(d, grid), &mut lend_mut(d, x_acc))
        })
    }

    fn code_scale(&self, h: f64, last: &[&Affine<Self>], rest: &Tensor<Self>, scale: &mut BnStats<Self>) -> Result<()> {
        self.time("code_scale", Cost::of(&[rest.shape()]), |d| {
            let lent: Vec<_> = last.iter().map(|affine| lend(d, *affine)).collect();
            let last: Vec<&Affine<Cpu>> = lent.iter().map(|affine| &**affine).collect();
            d.code_scale(h, &last, &lend(d, rest), &mut lend_mut(d, scale))
        })
    }

    fn encode(
        &self,
        coder: &mut Coder<Self>,
        carry_acc: &mut Tensor<Self>,
        x_acc: Option<&mut Tensor<Self>>,
        code: &mut Code<Self>,
        workspace: &mut Part,
    ) -> Result<()> {
        let map = carry_acc.shape();
        let states = if x_acc.is_some() { 2 } else { 0 };
        let cost = Cost::of(&[&[map; 4][..2 + states], &[code.packed.shape()]].concat());
        self.time("encode", cost, |d| {
            let (mut coder, mut carry, mut code) = (lend_mut(d, coder), lend_mut(d, carry_acc), lend_mut(d, code));
            let mut x = x_acc.map(|x| lend_mut(d, x));
            d.encode(&mut coder, &mut carry, x.as_deref_mut(), &mut code, &mut lend_mut(d, workspace))
        })
    }

    fn decode(
        &self,
        coder: &Coder<Self>,
        code: &Code<Self>,
        x_acc: &mut Tensor<Self>,
        workspace: &mut Part,
    ) -> Result<()> {
        let cost = Cost::of(&[x_acc.shape(), x_acc.shape(), code.packed.shape()]);
        self.time("decode", cost, |d| {
            let (coder, code) = (lend(d, coder), lend(d, code));
            d.decode(&coder, &code, &mut lend_mut(d, x_acc), &mut lend_mut(d, workspace))
        })
    }

    fn code_workspace(&self, map: Shape) -> usize {
        self.cpu.code_workspace(map)
    }

    fn judge(&self, errors: &Tensor<Self>, at: usize, verdict_acc: &mut Tensor<Self>) -> Result<()> {
        self.cpu.judge(&lend(&self.cpu, errors), at, &mut lend_mut(&self.cpu, verdict_acc))
    }

    fn conv(
        &self,
        x: &Tensor<Self>,
        w: &Tensor<Self>,
        conv: Conv,
        y: &mut Tensor<Self>,
        workspace: &mut Part,
    ) -> Result<()> {
        let cost = conv_cost(conv, x.shape(), w.shape(), &[x.shape(), w.shape(), y.shape()]);
        self.time("conv", cost, |d| {
            let x = lend(d, x);
            let w = lend(d, w);
            let mut y = lend_mut(d, y);
            let mut workspace = lend_mut(d, workspace);
            d.conv(&x, &w, conv, &mut y, &mut workspace)
        })
    }

    fn conv_grad_x(
        &self,
        grad_y: &Tensor<Self>,
        w: &Tensor<Self>,
        conv: Conv,
        grad_x: &mut Tensor<Self>,
        workspace: &mut Part,
    ) -> Result<()> {
        let cost = conv_cost(conv, grad_x.shape(), w.shape(), &[grad_y.shape(), w.shape(), grad_x.shape()]);
        self.time("conv_grad_x", cost, |d| {
            let grad_y = lend(d, grad_y);
            let w = lend(d, w);
            let mut grad_x = lend_mut(d, grad_x);
            let mut workspace = lend_mut(d, workspace);
            d.conv_grad_x(&grad_y, &w, conv, &mut grad_x, &mut workspace)
        })
    }

    fn conv_grad_w(
        &self,
        x: &Tensor<Self>,
        grad_y: &Tensor<Self>,
        conv: Conv,
        grad_w_acc: &mut Tensor<Self>,
        workspace: &mut Part,
    ) -> Result<()> {
        let cost = {
            let w = grad_w_acc.shape();
            conv_cost(conv, x.shape(), w, &[x.shape(), grad_y.shape(), w, w])
        };
        self.time("conv_grad_w", cost, |d| {
            let x = lend(d, x);
            let grad_y = lend(d, grad_y);
            let mut grad_w_acc = lend_mut(d, grad_w_acc);
            let mut workspace = lend_mut(d, workspace);
            d.conv_grad_w(&x, &grad_y, conv, &mut grad_w_acc, &mut workspace)
        })
    }

    fn bn_running_stats(&self, running: &BnRunning<Self>, stats: &mut BnStats<Self>) -> Result<()> {
        let cost = Cost::of(&[running.mean.shape(); 4]);
        self.time("bn_running_stats", cost, |d| {
            let running = lend(d, running);
            let mut stats = lend_mut(d, stats);
            d.bn_running_stats(&running, &mut stats)
        })
    }

    fn bn_apply(
        &self,
        z: &Tensor<Self>,
        stats: &BnStats<Self>,
        affine: &Affine<Self>,
        y: &mut Tensor<Self>,
    ) -> Result<()> {
        let cost = Cost::of(&[z.shape(), y.shape()]);
        self.time("bn_apply", cost, |d| {
            let z = lend(d, z);
            let stats = lend(d, stats);
            let affine = lend(d, affine);
            let mut y = lend_mut(d, y);
            d.bn_apply(&z, &stats, &affine, &mut y)
        })
    }

    fn bn_grad_sums(
        &self,
        grad_y: &Tensor<Self>,
        scale: f64,
        z: &Tensor<Self>,
        stats: &BnStats<Self>,
        sums: &mut Affine<Self>,
        workspace: &mut Part,
    ) -> Result<()> {
        let cost = Cost::of(&[grad_y.shape(), z.shape()]);
        self.time("bn_grad_sums", cost, |d| {
            let grad_y = lend(d, grad_y);
            let z = lend(d, z);
            let stats = lend(d, stats);
            let mut sums = lend_mut(d, sums);
            let mut workspace = lend_mut(d, workspace);
            d.bn_grad_sums(&grad_y, scale, &z, &stats, &mut sums, &mut workspace)
        })
    }

    fn bn_grad_z(
        &self,
        grad_y: &Tensor<Self>,
        scale: f64,
        z: &Tensor<Self>,
        stats: &BnStats<Self>,
        affine: &Affine<Self>,
        sums: &Affine<Self>,
        grad_z: &mut Tensor<Self>,
    ) -> Result<()> {
        let cost = Cost::of(&[grad_y.shape(), z.shape(), grad_z.shape()]);
        self.time("bn_grad_z", cost, |d| {
            let grad_y = lend(d, grad_y);
            let z = lend(d, z);
            let stats = lend(d, stats);
            let affine = lend(d, affine);
            let sums = lend(d, sums);
            let mut grad_z = lend_mut(d, grad_z);
            d.bn_grad_z(&grad_y, scale, &z, &stats, &affine, &sums, &mut grad_z)
        })
    }

    fn avg_pool(&self, x: &Tensor<Self>, size: usize, y: &mut Tensor<Self>) -> Result<()> {
        let cost = Cost::of(&[x.shape(), y.shape()]);
        self.time("avg_pool", cost, |d| {
            let x = lend(d, x);
            let mut y = lend_mut(d, y);
            d.avg_pool(&x, size, &mut y)
        })
    }

    fn avg_pool_grad(&self, grad_y: &Tensor<Self>, size: usize, grad_x: &mut Tensor<Self>) -> Result<()> {
        let cost = Cost::of(&[grad_y.shape(), grad_x.shape()]);
        self.time("avg_pool_grad", cost, |d| {
            let grad_y = lend(d, grad_y);
            let mut grad_x = lend_mut(d, grad_x);
            d.avg_pool_grad(&grad_y, size, &mut grad_x)
        })
    }

    fn linear(&self, x: &Tensor<Self>, w: &Tensor<Self>, b: &Tensor<Self>, y: &mut Tensor<Self>) -> Result<()> {
        let cost = linear_cost(x.shape(), w.shape(), &[x.shape(), w.shape(), y.shape()]);
        self.time("linear", cost, |d| {
            let x = lend(d, x);
            let w = lend(d, w);
            let b = lend(d, b);
            let mut y = lend_mut(d, y);
            d.linear(&x, &w, &b, &mut y)
        })
    }

    fn linear_grad_x(&self, grad_y: &Tensor<Self>, w: &Tensor<Self>, grad_x: &mut Tensor<Self>) -> Result<()> {
        let cost = linear_cost(grad_x.shape(), w.shape(), &[grad_y.shape(), w.shape(), grad_x.shape()]);
        self.time("linear_grad_x", cost, |d| {
            let grad_y = lend(d, grad_y);
            let w = lend(d, w);
            let mut grad_x = lend_mut(d, grad_x);
            d.linear_grad_x(&grad_y, &w, &mut grad_x)
        })
    }

    fn linear_grad_w(
        &self,
        x: &Tensor<Self>,
        grad_y: &Tensor<Self>,
        grad_w_acc: &mut Tensor<Self>,
        grad_b_acc: &mut Tensor<Self>,
    ) -> Result<()> {
        let cost = {
            let w = grad_w_acc.shape();
            linear_cost(x.shape(), w, &[x.shape(), grad_y.shape(), w, w])
        };
        self.time("linear_grad_w", cost, |d| {
            let x = lend(d, x);
            let grad_y = lend(d, grad_y);
            let mut grad_w_acc = lend_mut(d, grad_w_acc);
            let mut grad_b_acc = lend_mut(d, grad_b_acc);
            d.linear_grad_w(&x, &grad_y, &mut grad_w_acc, &mut grad_b_acc)
        })
    }

    fn softmax_cross_entropy(
        &self,
        logits: &Tensor<Self>,
        labels: &Tensor<Self>,
        grad_logits: &mut Tensor<Self>,
        out: &mut Tensor<Self>,
    ) -> Result<()> {
        let cost = Cost::of(&[logits.shape(), grad_logits.shape()]);
        self.time("softmax_cross_entropy", cost, |d| {
            let logits = lend(d, logits);
            let labels = lend(d, labels);
            let mut grad_logits = lend_mut(d, grad_logits);
            let mut out = lend_mut(d, out);
            d.softmax_cross_entropy(&logits, &labels, &mut grad_logits, &mut out)
        })
    }

    fn norm_relu(
        &self,
        z: &Tensor<Self>,
        stats: &BnStats<Self>,
        affine: &Affine<Self>,
        y: &mut Tensor<Self>,
    ) -> Result<()> {
        if self.grain.parts_all() {
            return fused::norm_relu(self, z, stats, affine, y);
        }
        let cost = Cost::of(&[z.shape(), y.shape()]);
        self.time("norm_relu", cost, |d| {
            let z = lend(d, z);
            let stats = lend(d, stats);
            let affine = lend(d, affine);
            let mut y = lend_mut(d, y);
            d.norm_relu(&z, &stats, &affine, &mut y)
        })
    }

    fn norm_step(
        &self,
        x: &Tensor<Self>,
        h: f64,
        z: &Tensor<Self>,
        stats: &BnStats<Self>,
        affine: &Affine<Self>,
        y: &mut Tensor<Self>,
    ) -> Result<()> {
        if self.grain.parts_all() {
            return fused::norm_step(self, x, h, z, stats, affine, y);
        }
        let cost = Cost::of(&[x.shape(), z.shape(), y.shape()]);
        self.time("norm_step", cost, |d| {
            let x = lend(d, x);
            let z = lend(d, z);
            let stats = lend(d, stats);
            let affine = lend(d, affine);
            let mut y = lend_mut(d, y);
            d.norm_step(&x, h, &z, &stats, &affine, &mut y)
        })
    }

    fn norm_step_acc(
        &self,
        h: f64,
        z: &Tensor<Self>,
        stats: &BnStats<Self>,
        affine: &Affine<Self>,
        x_acc: &mut Tensor<Self>,
        scratch: &mut Scratch<Self>,
    ) -> Result<()> {
        if self.grain.parts_all() {
            return fused::norm_step_acc(self, h, z, stats, affine, x_acc, scratch);
        }
        let cost = Cost::of(&[z.shape(), x_acc.shape(), x_acc.shape()]);
        self.time("norm_step_acc", cost, |d| {
            let z = lend(d, z);
            let stats = lend(d, stats);
            let affine = lend(d, affine);
            let mut x_acc = lend_mut(d, x_acc);
            let mut scratch = lend_mut(d, scratch);
            d.norm_step_acc(h, &z, &stats, &affine, &mut x_acc, &mut scratch)
        })
    }

    fn basic_vjp_outer(
        &self,
        grad_f: &Tensor<Self>,
        scale: f64,
        theta: &BasicTheta<Self>,
        stats: &BasicStats<Self>,
        cache: &BasicCache<Self>,
        grad_theta_acc: &mut BasicTheta<Self>,
        scratch: &mut Scratch<Self>,
    ) -> Result<()> {
        if self.grain.parts_all() {
            return fused::basic_vjp_outer(self, grad_f, scale, theta, stats, cache, grad_theta_acc, scratch);
        }
        let cost = {
            let (map, w) = (grad_f.shape(), theta.conv2.shape());
            block_cost(2, map, w, &[map, map, map, map, w, w, w])
        };
        self.time("basic_vjp_outer", cost, |d| {
            let grad_f = lend(d, grad_f);
            let theta = lend(d, theta);
            let stats = lend(d, stats);
            let cache = lend(d, cache);
            let mut grad_theta_acc = lend_mut(d, grad_theta_acc);
            let mut scratch = lend_mut(d, scratch);
            d.basic_vjp_outer(&grad_f, scale, &theta, &stats, &cache, &mut grad_theta_acc, &mut scratch)
        })
    }

    fn basic_vjp_inner(
        &self,
        x: &Tensor<Self>,
        theta: &BasicTheta<Self>,
        stats: &BasicStats<Self>,
        cache: &BasicCache<Self>,
        grad_theta_acc: &mut BasicTheta<Self>,
        grad_x_acc: &mut Tensor<Self>,
        scratch: &mut Scratch<Self>,
    ) -> Result<()> {
        if self.grain.parts_all() {
            return fused::basic_vjp_inner(self, x, theta, stats, cache, grad_theta_acc, grad_x_acc, scratch);
        }
        let cost = {
            let (map, w) = (x.shape(), theta.conv1.shape());
            block_cost(2, map, w, &[map, map, map, map, map, w, w, w])
        };
        self.time("basic_vjp_inner", cost, |d| {
            let x = lend(d, x);
            let theta = lend(d, theta);
            let stats = lend(d, stats);
            let cache = lend(d, cache);
            let mut grad_theta_acc = lend_mut(d, grad_theta_acc);
            let mut grad_x_acc = lend_mut(d, grad_x_acc);
            let mut scratch = lend_mut(d, scratch);
            d.basic_vjp_inner(&x, &theta, &stats, &cache, &mut grad_theta_acc, &mut grad_x_acc, &mut scratch)
        })
    }

    fn euler_step(
        &self,
        h: f64,
        theta: &BasicTheta<Self>,
        stats: &mut BasicStats<Self>,
        running: Option<&mut BasicRunning<Self>>,
        x: &mut Tensor<Self>,
        cache: &mut BasicCache<Self>,
        scratch: &mut Scratch<Self>,
    ) -> Result<()> {
        if self.grain.parts_blocks() {
            return fused::euler_step(self, h, theta, stats, running, x, cache, scratch);
        }
        let cost = {
            let (map, w) = (x.shape(), theta.conv1.shape());
            block_cost(2, map, w, &[map, map, w, w])
        };
        self.time("euler_step", cost, |d| {
            let theta = lend(d, theta);
            let mut stats = lend_mut(d, stats);
            let mut running = running.map(|running| lend_mut(d, running));
            let mut x = lend_mut(d, x);
            let mut cache = lend_mut(d, cache);
            let mut scratch = lend_mut(d, scratch);
            d.euler_step(h, &theta, &mut stats, running.as_deref_mut(), &mut x, &mut cache, &mut scratch)
        })
    }

    fn code_step(
        &self,
        h: f64,
        theta: &BasicTheta<Self>,
        stats: &mut BasicStats<Self>,
        running: Option<&mut BasicRunning<Self>>,
        coder: &mut Coder<Self>,
        code: &mut Code<Self>,
        x: &mut Tensor<Self>,
        carry: &mut Tensor<Self>,
        cache: &mut BasicCache<Self>,
        scratch: &mut Scratch<Self>,
    ) -> Result<()> {
        if self.grain.parts_blocks() {
            return fused::code_step(self, h, theta, stats, running, coder, code, x, carry, cache, scratch);
        }
        let cost = {
            let (map, w) = (x.shape(), theta.conv1.shape());
            block_cost(2, map, w, &[map, map, map, map, w, w, code.packed.shape()])
        };
        self.time("code_step", cost, |d| {
            let theta = lend(d, theta);
            let mut stats = lend_mut(d, stats);
            let mut running = running.map(|running| lend_mut(d, running));
            let mut coder = lend_mut(d, coder);
            let mut code = lend_mut(d, code);
            let mut x = lend_mut(d, x);
            let mut carry = lend_mut(d, carry);
            let mut cache = lend_mut(d, cache);
            let mut scratch = lend_mut(d, scratch);
            d.code_step(
                h,
                &theta,
                &mut stats,
                running.as_deref_mut(),
                &mut coder,
                &mut code,
                &mut x,
                &mut carry,
                &mut cache,
                &mut scratch,
            )
        })
    }

    fn decode_vjp(
        &self,
        h: f64,
        theta: &BasicTheta<Self>,
        stats: &BasicStats<Self>,
        coder: &Coder<Self>,
        code: &Code<Self>,
        x: &mut Tensor<Self>,
        cache: &mut BasicCache<Self>,
        grad_x: &mut Tensor<Self>,
        grad_theta: &mut BasicTheta<Self>,
        scratch: &mut Scratch<Self>,
    ) -> Result<()> {
        if self.grain.parts_blocks() {
            return fused::decode_vjp(self, h, theta, stats, coder, code, x, cache, grad_x, grad_theta, scratch);
        }
        let cost = {
            let (map, w) = (x.shape(), theta.conv1.shape());
            block_cost(6, map, w, &[map, map, map, map, w, w, w, w, code.packed.shape()])
        };
        self.time("decode_vjp", cost, |d| {
            let theta = lend(d, theta);
            let stats = lend(d, stats);
            let coder = lend(d, coder);
            let code = lend(d, code);
            let mut x = lend_mut(d, x);
            let mut cache = lend_mut(d, cache);
            let mut grad_x = lend_mut(d, grad_x);
            let mut grad_theta = lend_mut(d, grad_theta);
            let mut scratch = lend_mut(d, scratch);
            d.decode_vjp(
                h,
                &theta,
                &stats,
                &coder,
                &code,
                &mut x,
                &mut cache,
                &mut grad_x,
                &mut grad_theta,
                &mut scratch,
            )
        })
    }

    fn inverse_vjp(
        &self,
        h: f64,
        carry: Carry,
        theta: &BasicTheta<Self>,
        stats: &BasicStats<Self>,
        x: &mut Tensor<Self>,
        x_rec: &mut Tensor<Self>,
        (errors, at): (&mut Tensor<Self>, usize),
        cache: &mut BasicCache<Self>,
        grad_x: &mut Tensor<Self>,
        grad_theta: &mut BasicTheta<Self>,
        scratch: &mut Scratch<Self>,
    ) -> Result<()> {
        if self.grain.parts_blocks() {
            let errors = (errors, at);
            return fused::inverse_vjp(
                self, h, carry, theta, stats, x, x_rec, errors, cache, grad_x, grad_theta, scratch,
            );
        }
        let cost = {
            let (map, w) = (x.shape(), theta.conv1.shape());
            block_cost(8, map, w, &[map, map, map, map, w, w, w, w])
        };
        self.time("inverse_vjp", cost, |d| {
            let theta = lend(d, theta);
            let stats = lend(d, stats);
            let mut x = lend_mut(d, x);
            let mut x_rec = lend_mut(d, x_rec);
            let mut cache = lend_mut(d, cache);
            let mut grad_x = lend_mut(d, grad_x);
            let mut grad_theta = lend_mut(d, grad_theta);
            let mut scratch = lend_mut(d, scratch);
            d.inverse_vjp(
                h,
                carry,
                &theta,
                &stats,
                &mut x,
                &mut x_rec,
                (&mut lend_mut(d, errors), at),
                &mut cache,
                &mut grad_x,
                &mut grad_theta,
                &mut scratch,
            )
        })
    }
}
