//! What frames the blocks of a training step on the CUDA device: its launches, by the emulator's counters.

use rewind::device::{Math, SgdStep};
use rewind::field::Basic;
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::scheme::Scheme;
use rewind::sweep::{Gradient, SweepSpec, Update};

use crate::support::gpu::{emulator, gpu, no_faults, ran_apart, turn};
use crate::support::{batch, liven, small};

const SGD: SgdStep = SgdStep::PAPER;

/// The kernels of a step at this depth, in order, once the step is recorded.
fn kernels(gradient: Gradient, depth: usize) -> Vec<String> {
    let emulator = emulator().expect("asked for where it is");
    let cuda = gpu(Math::Tf32);
    let sweep = SweepSpec { update: Update::InSweep, ..SweepSpec::new(Scheme::Euler, gradient) };
    let spec = NetSpec { sweep, ..small(sweep, depth, 16, 2) };
    let mut net = Net::<_, Basic>::new(&cuda, spec, Init::Paper, 1).expect("net");
    liven(&cuda, &mut net, true);
    for _ in 0..2 {
        batch(&mut net, &cuda, 2);
        net.train_step(&cuda, SGD).expect("step");
    }
    emulator.reset_counters().expect("counters");
    net.train_step(&cuda, SGD).expect("step");
    no_faults();
    emulator.launches().expect("counters").into_iter().map(|counted| counted.launch.kernel).collect()
}

/// Of each mode: what two blocks and four blocks take, and so what the rest does: of the modes that rebuild states, with one launch of all
/// blocks each way. The learning rate's fill is among it, the drawing of the batch and the record of its result, two launches
/// more, are not.
#[test]
fn few_launches_frame_the_blocks() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let Some(emulator) = emulator() else { return eprintln!("on a GPU nobody counts the launches") };
    let options = emulator.options().expect("options");
    emulator
        .set_options(&rewind_emulator::machine::Options { counters: true, ..options })
        .expect("before the driver starts");
    for (gradient, each, most) in [(Gradient::Corrected, 0, 13), (Gradient::Coded, 0, 15), (Gradient::Backprop, 17, 12)]
    {
        let [two, four] = [2, 4].map(|depth| kernels(gradient, depth));
        let per_block = (four.len() - two.len()) / 2;
        let frame = two.len() - 2 * per_block;
        println!("{gradient}: {per_block} launches per block, {frame} beside: {}", two.join(" "));
        assert_eq!((four.len() - two.len()) % 2, 0, "{gradient}");
        assert!(per_block <= each && frame <= most, "{gradient}: {per_block} per block, {frame} beside: {two:?}");
    }
}
