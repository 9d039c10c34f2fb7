//! A whole training step of the default net at depth 16, as `train_cifar` asks for it: batch, forward, backward, update,
//! results; on the built-in data set.

use std::sync::{Arc, LazyLock};

use clap::ValueEnum;
use rewind::Result;
use rewind::config::RunConfig;
use rewind::data::{Batches, CHANNELS, Dataset, EpochSpec, IMAGE, synthetic};
use rewind::device::{Device, SgdStep};
use rewind::net::{Net, NetSpec, Pass};
use rewind::scheme::Scheme;
use rewind::shape::Conv;
use rewind::sweep::{Gradient, SweepSpec};

use crate::block::evaluations;
use crate::harness::{Bench, flop, label};

const DEPTH: usize = 16;
/// So small that no gradient mode leaves the finite numbers, however long it is measured.
const SGD: SgdStep = SgdStep { lr: 1e-3, momentum: 0.9, weight_decay: 5e-4 };

/// The built-in data set, made when first asked for.
pub fn dataset() -> Arc<Dataset> {
    static DATASET: LazyLock<Arc<Dataset>> = LazyLock::new(|| Arc::new(synthetic::generate(0)));
    Arc::clone(&DATASET)
}

/// A net in the middle of an epoch.
struct Training<D: Device> {
    net: Net<D>,
    step: usize,
    steps: usize,
}

impl<D: Device<Real = f32>> Training<D> {
    fn new(d: &D, spec: NetSpec) -> Self {
        let dataset = dataset();
        let RunConfig { init, seed, augment, .. } = RunConfig::default();
        let mut net = Net::new(d, spec, init, seed).expect("memory");
        let epoch = EpochSpec { seed, augment };
        // the last, smaller batch is left out
        let steps = Batches { images: dataset.train.len(), batch: spec.batch }.count() - 1;
        net.hold(d, dataset).expect("room for the data set");
        net.write_table(d, 0, |places| epoch.draw(1, places)).expect("a table");
        net.set_learning_rate(d, SGD.lr).expect("a learning rate");
        Self { net, step: steps, steps }
    }

    fn step(&mut self, d: &D) -> Result<()> {
        let Self { net, step, steps } = self;
        if step == steps {
            net.begin_pass(d, Pass::Train { table: 0 }, 0)?;
            *step = 0;
        }
        net.ask_train_step(d, net.spec().batch, SGD)?;
        let loss = net.results(d, *step, 1)?.map(|result| result.batch.loss).sum::<f64>();
        assert!(loss.is_finite(), "the loss is {loss}");
        *step += 1;
        Ok(())
    }
}

/// Multiply-adds of the convolutions, times two.
fn step_flop(spec: &NetSpec) -> u64 {
    let map = spec.map();
    let evaluation = 2 * Conv::SAME_3X3.flop(map, map.c());
    let steps = spec.sweep.scheme.steps(spec.depth) as u64;
    let stem = 2 * Conv::STEM_5X5.flop(spec.images(), spec.channels);
    stem + evaluations(&spec.sweep, steps).into_iter().sum::<u64>() * evaluation
}

pub fn all<D: Device<Real = f32>>(bench: &mut Bench<'_, D>) {
    for scheme in [Scheme::Euler, Scheme::Heun] {
        for gradient in Gradient::value_variants() {
            let RunConfig { channels, batch, .. } = RunConfig::default();
            let spec = NetSpec {
                depth: DEPTH,
                channels,
                batch,
                image: IMAGE,
                image_channels: CHANNELS,
                classes: synthetic::CLASSES.len(),
                sweep: SweepSpec::new(scheme, *gradient),
            };
            let shape = format!("{}_depth{DEPTH}", label(spec.map()));
            let name = format!("train_step_{scheme}_{gradient}");
            let prepare = |d: &D| Training::new(d, spec);
            bench.operation(&name, "", shape, flop(step_flop(&spec)), prepare, &mut |d, training: &mut Training<D>| {
                training.step(d)
            });
        }
    }
}
