//! What one block of a training step asks of an H100, counted by the emulator: a lower bound of each kernel's time and what
//! it would be short of. Nothing here is a measured time: `cargo bench --bench kernels_bound`, `-- paper` for one shape,
//! `-- --write` to renew `benches/kernels_bound.csv`, or, with shapes, their rows in it.
//!
//! A block-step of a basic block or a bottleneck is one Euler step of the forward pass with measured statistics, `inverse_vjp`, and
//! the block's update; or the same by a code, `code_step` and `decode_vjp`; of a run, an eighth of eight blocks' in one launch each way. That of a first block, which stores its activations, is its
//! evaluation, its gradients and its update. `floor` says what the least of each would be.

#[path = "../bed/mod.rs"]
mod bed;
mod case;
mod chains;
mod floor;
mod form;
mod report;

use case::{Block, CASES};
use form::Form;
use report::Report;
use rewind::cuda::Cuda;
use rewind::device::Math;
use rewind::device::prelude::*;
use rewind_emulator::machine::Options;
use rewind_emulator::profile::{H100_SXM, Profile};
use rewind_emulator::report::CAVEATS;

/// The GPU that all of this is about.
const GPU: &Profile = &H100_SXM;
/// Where the rows stay.
const FILE: &str = "benches/kernels_bound.csv";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (flags, named): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|a| a.starts_with("--"));
    let wanted = |name: &str| named.is_empty() || named.iter().any(|a| a.as_str() == name);
    if let Some(unknown) = named.iter().find(|a| CASES.iter().all(|case| case.name != a.as_str())) {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        eprintln!("There is no shape \"{unknown}\", only {}.", names.join(", "));
        std::process::exit(2);
    }
    let emulator = rewind_emulator::install().expect("the emulator is built with the benches");
    emulator.set_gpu(GPU).expect("before the driver starts");
    // what is checked is the tests' affair
    let options = emulator.options().expect("the emulator answers");
    emulator.set_options(&Options { checks: false, counters: true, ..options }).expect("the emulator answers");
    println!("Lower bounds on {}, not measurements. What they leave out:", GPU.device);
    CAVEATS.iter().for_each(|caveat| println!("  - {caveat}"));
    let mut report = Report::default();
    for case in CASES.iter().filter(|case| wanted(case.name)) {
        for (form, way, math) in case.runs() {
            let cuda = open(form, math);
            // kernels of whole blocks are for basic ones of small maps
            if form != Form::Chained && !cuda.is_cooperative(case.map) {
                continue;
            }
            emulator.reset_counters().expect("the emulator answers");
            match case.block {
                Block::Basic if form == Form::Run => chains::run_of_steps(&cuda, way, case.map, &emulator),
                Block::Basic => chains::basic_step(&cuda, way, case.map, &emulator),
                Block::Bottleneck => chains::bottleneck_step(&cuda, case.map, &emulator),
                Block::First { channels, stride } => chains::first_step(&cuda, case.map, channels, stride, &emulator),
            }
            cuda.synchronize().expect("no fault");
            let mut launches = emulator.launches().expect("the emulator answers");
            // what begins and ends a sweep over a run is not of its blocks
            let of_blocks = ["euler_step", "code_step", "inverse_vjp", "decode_vjp"];
            launches.retain(|counted| {
                form != Form::Run || of_blocks.iter().any(|name| counted.launch.kernel.starts_with(name))
            });
            report.add(case, form, way, math, &launches);
        }
        // the longest shapes take minutes: what is there stays
        if flags.iter().any(|a| a.as_str() == "--write") {
            report.write(FILE).expect("the folder can be written");
        }
    }
}

fn open(form: Form, math: Math) -> Cuda {
    let cuda = Cuda::open(0, math).expect("the emulator is a GPU");
    if form == Form::Chained { cuda.chained() } else { cuda }
}
