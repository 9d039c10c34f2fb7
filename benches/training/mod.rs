//! Training steps of the default net, as `train_cifar` asks for them: batch, forward, backward, update, results; on the
//! built-in data set.

use std::sync::{Arc, LazyLock};

use rewind::Result;
use rewind::data::{Batches, Dataset, EpochSpec};
use rewind::device::{Device, SgdStep};
use rewind::net::{Net, NetSpec, Pass};
use rewind::sweep::SweepSpec;
use rewind_train::config::RunConfig;
use rewind_train::synthetic;

/// So small a learning rate that no gradient mode leaves the finite numbers, however long it is measured.
const SGD: SgdStep = SgdStep { lr: 1e-3, ..SgdStep::PAPER };

/// The built-in data set, made when first asked for.
pub fn dataset() -> Arc<Dataset> {
    static DATASET: LazyLock<Arc<Dataset>> = LazyLock::new(|| Arc::new(synthetic::generate(0)));
    Arc::clone(&DATASET)
}

/// The default net at another depth.
pub fn default_net(depth: usize, sweep: SweepSpec) -> NetSpec {
    let RunConfig { channels, batch, .. } = RunConfig::default();
    let classes = synthetic::CLASSES.len();
    NetSpec { depth, channels, batch, classes, sweep, ..NetSpec::default() }
}

/// A net in the middle of an epoch.
pub struct Training<D: Device> {
    net: Net<D>,
    step: usize,
    steps: usize,
}

impl<D: Device<Real = f32>> Training<D> {
    /// A fresh net.
    pub fn new(d: &D, spec: NetSpec) -> Self {
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

    /// One step, waited for, and its loss.
    pub fn step(&mut self, d: &D) -> Result<f64> {
        let Self { net, step, steps } = self;
        if step == steps {
            net.begin_pass(d, Pass::Train { table: 0 }, 0)?;
            *step = 0;
        }
        net.ask_train_step(d, net.spec().batch, SGD)?;
        let loss = net.results(d, *step, 1)?.map(|result| result.batch.loss).sum::<f64>();
        assert!(loss.is_finite(), "the loss is {loss}");
        *step += 1;
        Ok(loss)
    }
}
