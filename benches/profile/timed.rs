//! The CPU device with a clock around every operation: it computes on the CPU device's own buffers.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use rewind::Result;
use rewind::code::{Code, Coder};
use rewind::cpu::Cpu;
use rewind::data::{Dataset, Held, Mix, Part, Place};
use rewind::device::{
    Activation, AdamW, Basic, BatchNorm, Coding, Convolution, Device, Elementwise, Ends, Feed, Gradients, Head, Moved,
    Optimiser, PassPosition, ReluMask, ResidualBlock, Sgd, fused, whole,
};
use rewind::host::{HostBuffer, HostRegion};
use rewind::memory::Memory;
use rewind::operands::{
    Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, BnRunning, BnStats, Carry, Measure, Scratch,
};
use rewind::shape::{Conv, Shape};
use rewind::tensor::Tensor;

use crate::cost::{Cost, block_cost, conv_cost, linear_cost, sgd_cost};
use crate::grain::Grain;
use crate::ledger::Ledger;

type B = HostBuffer<f32>;
type Map = Tensor<B>;

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

impl Memory for Timed {
    type Real = f32;
    type Region = HostRegion<f32>;
    type Buffer = B;

    fn reserve(&self, len: usize) -> Result<Self::Region> {
        self.cpu.reserve(len)
    }

    unsafe fn carve(&self, region: &Self::Region, offset: usize, len: usize) -> B {
        // SAFETY: handed on to the caller.
        unsafe { self.cpu.carve(region, offset, len) }
    }
}

/// The definition of an operation, of those of whole blocks the basic function's.
macro_rules! definition {
    (fused $name:ident) => {
        fused::$name
    };
    (whole $name:ident) => {
        whole::$name
    };
    (block $name:ident) => {
        whole::$name::<Timed, Basic>
    };
}

/// Operations under the clock, each with what it costs: `name(operands) = cost`. Behind `by KIND if GRAIN`, an operation's
/// definition goes in its place where the grain says so.
macro_rules! timed {
    ($($name:ident($($operand:ident: $type:ty),* $(,)?) = $cost:expr;)*) => {$(
        fn $name(&self, $($operand: $type),*) -> Result<()> {
            let cost = $cost;
            self.time(stringify!($name), cost, |cpu| cpu.$name($($operand),*))
        }
    )*};
    (by $of:ident if $parts:ident: $($name:ident($($operand:ident: $type:ty),* $(,)?) = $cost:expr;)*) => {$(
        fn $name(&self, $($operand: $type),*) -> Result<()> {
            if self.grain.$parts() {
                return definition!($of $name)(self, $($operand),*);
            }
            let cost = $cost;
            self.time(stringify!($name), cost, |cpu| cpu.$name($($operand),*))
        }
    )*};
}

/// What the CPU device answers without a clock.
macro_rules! passed_on {
    ($($name:ident($($operand:ident: $type:ty),*) -> $result:ty;)*) => {$(
        fn $name(&self, $($operand: $type),*) -> $result {
            self.cpu.$name($($operand),*)
        }
    )*};
}

impl Device for Timed {
    type Recording = ();

    // for the definitions in primitives; the CPU itself needs none
    const SCRATCH_MAPS: usize = 2;
    const STEPS_AHEAD: usize = Cpu::STEPS_AHEAD;

    fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.cpu.install(f)
    }

    fn phase<R>(&self, name: &'static str, f: impl FnOnce() -> R) -> R {
        let outer = self.ledger().enter(name);
        let result = f();
        self.ledger().enter(outer);
        result
    }

    passed_on! {
        name() -> String;
        upload(from: &[f32], to: &mut Map) -> Result<()>;
        download(from: &Map, to: &mut [f32]) -> Result<()>;
    }
}

impl Feed for Timed {
    type Data = Held;

    fn write_table(&self, data: &mut Held, table: usize, write: impl FnOnce(&mut [Place])) -> Result<()> {
        self.cpu.write_table(data, table, write)
    }

    fn write_mixes(&self, data: &mut Held, table: usize, write: impl FnOnce(&mut [Mix])) -> Result<()> {
        self.cpu.write_mixes(data, table, write)
    }

    passed_on! {
        hold(dataset: Arc<Dataset>, mixes: usize) -> Result<Held>;
        choose_table(data: &mut Held, table: usize, chosen: &mut Map) -> Result<()>;
        refill(data: &mut Held, part: Part, pixels: &[u8], labels: &[u16]) -> Result<()>;
    }

    timed! {
        draw_batch(data: &Held, part: Part, position: PassPosition<'_, B>, images: &mut Map, labels: &mut Map)
            = Cost::of(&[images.shape()]);
        record_step(outcome: &Map, distance: Option<&Map>, always: bool, results: &mut Map, step_acc: &mut Map)
            = Cost::of(&[results.shape()]);
    }
}

impl Elementwise for Timed {
    passed_on! {
        all_finite(x: &Map) -> Result<bool>;
        squared_distance_workspace(x: Shape) -> usize;
    }

    timed! {
        fill(value: f64, y: &mut Map) = Cost::of(&[y.shape()]);
        copy(x: &Map, y: &mut Map) = Cost::of(&[x.shape(), y.shape()]);
        axpby(a: f64, x: &Map, b: f64, y_acc: &mut Map) = Cost::of(&[x.shape(), y_acc.shape(), y_acc.shape()]);
        relu(y: &mut Map) = Cost::of(&[y.shape(), y.shape()]);
        activate(act: Activation, y: &mut Map) = Cost::of(&[y.shape(), y.shape()]);
        activate_grad(act: Activation, x: &Map, grad: &mut Map)
            = Cost::of(&[x.shape(), grad.shape(), grad.shape()]);
        relu_grad(y: &Map, grad: &mut Map) = Cost::of(&[y.shape(), grad.shape(), grad.shape()]);
        squared_distance(x: &Map, y: &Map, out: &mut Map, at: usize, workspace: &mut B)
            = Cost::of(&[x.shape(), y.shape()]);
    }
}

impl Convolution for Timed {
    passed_on! {
        conv_workspace(x: Shape, conv: Conv, c_out: usize) -> usize;
    }

    timed! {
        conv(x: &Map, w: &Map, conv: Conv, y: &mut Map, workspace: &mut B)
            = conv_cost(conv, x.shape(), w.shape(), &[x.shape(), w.shape(), y.shape()]);
        conv_grad_x(grad_y: &Map, w: &Map, conv: Conv, grad_x: &mut Map, workspace: &mut B)
            = conv_cost(conv, grad_x.shape(), w.shape(), &[grad_y.shape(), w.shape(), grad_x.shape()]);
        conv_grad_w(x: &Map, grad_y: &Map, conv: Conv, grad_w_acc: &mut Map, workspace: &mut B)
            = {
                let w = grad_w_acc.shape();
                conv_cost(conv, x.shape(), w, &[x.shape(), grad_y.shape(), w, w])
            };
    }
}

impl BatchNorm for Timed {
    passed_on! {
        bn_workspace(z: Shape) -> usize;
    }

    timed! {
        bn_stats(z: &Map, to: Measure<'_, B>, workspace: &mut B) = Cost::of(&[z.shape()]);
        bn_running_stats(running: &BnRunning<B>, stats: &mut BnStats<B>) = Cost::of(&[running.mean.shape(); 4]);
        bn_apply(z: &Map, stats: &BnStats<B>, affine: &Affine<B>, y: &mut Map) = Cost::of(&[z.shape(), y.shape()]);
        bn_grad_sums(grad_y: &Map, scale: f64, z: &Map, stats: &BnStats<B>, sums: &mut Affine<B>, workspace:
            &mut B)
            = Cost::of(&[grad_y.shape(), z.shape()]);
        bn_grad_z(grad_y: &Map, scale: f64, z: &Map, stats: &BnStats<B>, affine: &Affine<B>, sums: &Affine<B>,
            grad_z: &mut Map)
            = Cost::of(&[grad_y.shape(), z.shape(), grad_z.shape()]);
    }
}

impl ReluMask for Timed {
    timed! {
        relu_mask(z: &Map, stats: &BnStats<B>, affine: &Affine<B>, mask: &mut Map)
            = Cost::of(&[z.shape(), mask.shape()]);
        relu_replay(mask: &Map, stats: &BnStats<B>, affine: &Affine<B>, z_acc: &mut Map)
            = Cost::of(&[mask.shape(), z_acc.shape(), z_acc.shape()]);
    }
}

impl Head for Timed {
    timed! {
        max_pool(x: &Map, window: Conv, y: &mut Map) = Cost::of(&[x.shape(), y.shape()]);
        max_pool_grad(x: &Map, grad_y: &Map, window: Conv, grad_x: &mut Map)
            = Cost::of(&[x.shape(), grad_y.shape(), grad_x.shape()]);
        avg_pool(x: &Map, size: usize, y: &mut Map) = Cost::of(&[x.shape(), y.shape()]);
        avg_pool_grad(grad_y: &Map, size: usize, grad_x: &mut Map) = Cost::of(&[grad_y.shape(), grad_x.shape()]);
        linear(x: &Map, w: &Map, b: &Map, y: &mut Map)
            = linear_cost(x.shape(), w.shape(), &[x.shape(), w.shape(), y.shape()]);
        linear_grad_x(grad_y: &Map, w: &Map, grad_x: &mut Map)
            = linear_cost(grad_x.shape(), w.shape(), &[grad_y.shape(), w.shape(), grad_x.shape()]);
        linear_grad_w(x: &Map, grad_y: &Map, grad_w: &mut Map, grad_b: &mut Map)
            = {
                let w = grad_w.shape();
                linear_cost(x.shape(), w, &[x.shape(), grad_y.shape(), w])
            };
        softmax_cross_entropy(logits: &Map, labels: &Map, smoothing: f64, grad_logits: &mut Map, out: &mut Map)
            = Cost::of(&[logits.shape(), grad_logits.shape()]);
    }
}

impl Gradients for Timed {
    passed_on! {
        squares(tensors: &mut dyn Iterator<Item = &Map>, adds: bool, squares: &mut Map) -> Result<()>;
        clip(squares: &Map, most: f64, tensors: &mut dyn Iterator<Item = &mut Map>) -> Result<()>;
        average_all(keep: f64, loss: &Map, pairs: &mut dyn Iterator<Item = (&Map, &mut Map)>) -> Result<()>;
    }
}

impl Optimiser for Timed {
    passed_on! {
        count_step(betas: [f64; 2], loss: &Map, count: &mut Map) -> Result<()>;
        adamw_all(step: AdamW<'_, B>, tensors: &mut dyn Iterator<Item = Moved<'_, B>>) -> Result<()>;
    }

    timed! {
        sgd(step: Sgd<'_, B>, grad: &Map, velocity: &mut Map, theta: &mut Map) = sgd_cost(theta.shape());
    }

    timed! { by whole if parts_all:
        sgd_block(step: Sgd<'_, B>, grad: &BasicTheta<B>, velocity: &mut BasicTheta<B>, theta: &mut
            BasicTheta<B>)
            = Cost { flop: 0, bytes: theta.named().map(|(_, tensor)| sgd_cost(tensor.shape()).bytes).into_iter().sum() };
    }
}

impl Coding for Timed {
    passed_on! {
        judge(errors: &Map, at: usize, verdict_acc: &mut Map) -> Result<()>;
        code_workspace(map: Shape) -> usize;
    }

    timed! {
        code_start(x_acc: &mut Map, grid: &mut Map, workspace: &mut B)
            = Cost::of(&[x_acc.shape(), x_acc.shape(), x_acc.shape()]);
        code_round(grid: &Map, x_acc: &mut Map) = Cost::of(&[x_acc.shape(), x_acc.shape()]);
        code_scale(h: f64, last: &[&Affine<B>], rest: &Map, scale: &mut BnStats<B>) = Cost::of(&[rest.shape()]);
        encode(coder: &mut Coder<B>, carry_acc: &mut Map, x_acc: Option<&mut Map>, code: &mut Code<B>,
            workspace: &mut B)
            = {
                let states = if x_acc.is_some() { 2 } else { 0 };
                Cost::of(&[&[carry_acc.shape(); 4][..2 + states], &[code.packed.shape()]].concat())
            };
        decode(coder: &Coder<B>, code: &Code<B>, x_acc: &mut Map, workspace: &mut B)
            = Cost::of(&[x_acc.shape(), x_acc.shape(), code.packed.shape()]);
    }
}

impl Ends for Timed {}

impl ResidualBlock for Timed {
    passed_on! {
        block_workspace(map: Shape) -> usize;
    }

    timed! { by fused if parts_all:
        conv_stats(x: &Map, w: &Map, conv: Conv, z: &mut Map, to: Option<Measure<'_, B>>, workspace: &mut B)
            = conv_cost(conv, x.shape(), w.shape(), &[x.shape(), w.shape(), z.shape()]);
        norm_relu_conv_stats(z1: &Map, stats1: &BnStats<B>, affine1: &Affine<B>, w: &Map, z2: &mut Map, to:
            Option<Measure<'_, B>>, scratch: &mut Scratch<B>)
            = block_cost(1, z1.shape(), w.shape(), &[z1.shape(), w.shape(), z2.shape()]);
        norm_relu(z: &Map, stats: &BnStats<B>, affine: &Affine<B>, y: &mut Map) = Cost::of(&[z.shape(), y.shape()]);
        norm_step(x: &Map, h: f64, z: &Map, stats: &BnStats<B>, affine: &Affine<B>, y: &mut Map)
            = Cost::of(&[x.shape(), z.shape(), y.shape()]);
        norm_step_acc(h: f64, z: &Map, stats: &BnStats<B>, affine: &Affine<B>, x_acc: &mut Map, scratch: &mut
            Scratch<B>)
            = Cost::of(&[z.shape(), x_acc.shape(), x_acc.shape()]);
        basic_vjp_outer(grad_f: &Map, scale: f64, theta: &BasicTheta<B>, stats: &BasicStats<B>, cache:
            &BasicCache<B>, grad_theta_acc: &mut BasicTheta<B>, scratch: &mut Scratch<B>)
            = {
                let (map, w) = (grad_f.shape(), theta.conv2.shape());
                block_cost(2, map, w, &[map, map, map, map, w, w, w])
            };
        basic_vjp_inner(x: &Map, theta: &BasicTheta<B>, stats: &BasicStats<B>, cache: &BasicCache<B>,
            grad_theta_acc: &mut BasicTheta<B>, grad_x_acc: &mut Map, scratch: &mut Scratch<B>)
            = {
                let (map, w) = (x.shape(), theta.conv1.shape());
                block_cost(2, map, w, &[map, map, map, map, map, w, w, w])
            };
    }

    timed! { by block if parts_blocks:
        euler_step(h: f64, theta: &BasicTheta<B>, stats: &mut BasicStats<B>, running: Option<&mut
            BasicRunning<B>>, x: &mut Map, cache: &mut BasicCache<B>, scratch: &mut Scratch<B>)
            = {
                let (map, w) = (x.shape(), theta.conv1.shape());
                block_cost(2, map, w, &[map, map, w, w])
            };
        code_step(h: f64, theta: &BasicTheta<B>, stats: &mut BasicStats<B>, running: Option<&mut
            BasicRunning<B>>, coder: &mut Coder<B>, code: &mut Code<B>, x: &mut Map, carry: &mut Map, cache: &mut
            BasicCache<B>, scratch: &mut Scratch<B>)
            = {
                let (map, w) = (x.shape(), theta.conv1.shape());
                block_cost(2, map, w, &[map, map, map, map, w, w, code.packed.shape()])
            };
        decode_vjp(h: f64, theta: &BasicTheta<B>, stats: &mut BasicStats<B>, coder: &Coder<B>, code: &Code<B>, x:
            &mut Map, cache: &mut BasicCache<B>, grad_x: &mut Map, grad_theta: &mut BasicTheta<B>, scratch: &mut
            Scratch<B>)
            = {
                let (map, w) = (x.shape(), theta.conv1.shape());
                block_cost(6, map, w, &[map, map, map, map, w, w, w, w, code.packed.shape()])
            };
        inverse_vjp(h: f64, carry: Carry, theta: &BasicTheta<B>, stats: &mut BasicStats<B>, x: &mut Map, x_rec: &mut
            Map, errors: (&mut Map, usize), cache: &mut BasicCache<B>, grad_x: &mut Map, grad_theta: &mut
            BasicTheta<B>, scratch: &mut Scratch<B>)
            = {
                let (map, w) = (x.shape(), theta.conv1.shape());
                block_cost(8, map, w, &[map, map, map, map, w, w, w, w])
            };
    }
}
