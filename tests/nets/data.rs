//! Training on the data set that a device holds: what a table says is what is trained on, from any step on, whatever was
//! going on before.

use crate::support::{SCHEMES, liven, numbered, read, small};
use rewind::cpu::Cpu;
use rewind::data::{Batches, EpochSpec, IMAGE_LEN, Place};
use rewind::device::SgdStep;
use rewind::init::Init;
use rewind::net::{Net, NetSpec, Pass, StepResult};
use rewind::sweep::{Gradient, SweepSpec};

const SGD: SgdStep = SgdStep { lr: 0.05, ..SgdStep::PAPER };
const BATCHES: Batches = Batches { images: 40, batch: 9 };
const SPEC: EpochSpec = EpochSpec { seed: 5, augment: true };

/// Deep enough that every sweep is sound: the drift of one that is not is no number, which equals nothing.
fn net(cpu: &Cpu) -> Net<Cpu> {
    let sweep = SweepSpec::new(SCHEMES[0], Gradient::Corrected);
    let mut net = Net::new(cpu, NetSpec { sweep, ..small(sweep, 8, 4, BATCHES.batch) }, Init::Paper, 1).expect("net");
    liven(cpu, &mut net, false);
    net.hold(cpu, numbered(BATCHES.images, 10)).expect("hold");
    net
}

/// Begins an epoch at its step number `step`.
fn begin(cpu: &Cpu, net: &mut Net<Cpu>, epoch: u64, step: usize) {
    let table = (epoch % 2) as usize;
    net.write_table(cpu, table, |places| SPEC.draw(epoch, places)).expect("write_table");
    net.set_learning_rate(cpu, SGD.lr).expect("set_learning_rate");
    net.begin_pass(cpu, Pass::Train { table }, step).expect("begin_pass");
}

/// The next step of the pass, which is number `step`.
fn next(cpu: &Cpu, net: &mut Net<Cpu>, step: usize) -> StepResult {
    net.ask_train_step(cpu, BATCHES.len(step), SGD).expect("ask_train_step");
    net.results(cpu, step, 1).expect("results").next().expect("a result")
}

fn weights(cpu: &Cpu, net: &Net<Cpu>) -> Vec<Vec<f64>> {
    net.checkpointed().into_iter().map(|(_, tensor)| read(cpu, tensor)).collect()
}

#[test]
fn a_pass_trains_on_what_its_table_says() {
    let cpu = Cpu::new(Some(2)).expect("cpu");
    let set = numbered(BATCHES.images, 10);
    let normaliser = set.normaliser();
    let (mut passing, mut loaded) = (net(&cpu), net(&cpu));
    begin(&cpu, &mut passing, 1, 0);
    let mut places = vec![Place::default(); BATCHES.images];
    SPEC.draw(1, &mut places);
    for (step, batch) in places.chunks(BATCHES.batch).enumerate() {
        let mut images = vec![0.0; batch.len() * IMAGE_LEN];
        for (place, image) in batch.iter().zip(images.chunks_exact_mut(IMAGE_LEN)) {
            normaliser.augment(set.train.image(place.index as usize), place.change(), image);
        }
        let labels: Vec<f32> = batch.iter().map(|place| set.train.labels[place.index as usize].into()).collect();
        loaded.load(&cpu, &images, &labels).expect("load");
        let (batch, drift) = loaded.train_step(&cpu, SGD).expect("train_step");
        assert_eq!(next(&cpu, &mut passing, step), StepResult { batch, drift: drift.stem });
    }
    assert!(weights(&cpu, &passing) == weights(&cpu, &loaded));
}

#[test]
fn a_pass_goes_on_at_any_step_and_can_be_dropped_at_any() {
    let cpu = Cpu::new(Some(2)).expect("cpu");
    let (mut whole, mut cut) = (net(&cpu), net(&cpu));
    begin(&cpu, &mut whole, 3, 0);
    for step in 0..BATCHES.count() {
        let expected = next(&cpu, &mut whole, step);
        // another epoch and a test are begun, and left before their ends
        begin(&cpu, &mut cut, 2, step % 3);
        let before = weights(&cpu, &cut);
        let mut test = || {
            cut.begin_pass(&cpu, Pass::Test, 0).expect("begin_pass");
            cut.ask_test_step(&cpu, BATCHES.batch).expect("ask_test_step");
            cut.results(&cpu, 0, 1).expect("results").next().expect("a result")
        };
        assert_eq!(test(), test());
        assert!(before == weights(&cpu, &cut), "a test moves nothing");
        begin(&cpu, &mut cut, 3, step);
        assert_eq!(next(&cpu, &mut cut, step), expected, "step {step}");
    }
    assert!(weights(&cpu, &whole) == weights(&cpu, &cut));
}
