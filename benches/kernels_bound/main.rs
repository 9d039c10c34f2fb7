//! What one block of a training step asks of an H100, counted by the emulator: a lower bound of each kernel's time and what
//! it would be short of. Nothing here is a measured time: `cargo bench --bench kernels_bound`, `-- paper` for one shape,
//! `-- --write` to renew `benches/kernels_bound.csv`.
//!
//! A block-step is one Euler step of the forward pass with measured statistics, `inverse_vjp`, and the block's update; or the same
//! by a code, `code_step` and `decode_vjp`. Its floor is 7 passes over the state forward and 20 backward, or 9 and 15, in L2 where
//! the working set fits and else in DRAM, or 5 evaluations on the tensor cores by `mma.sync`, or 4, whichever takes longer.

mod bed;

use bed::Bed;
use rewind::cuda::Cuda;
use rewind::device::Math;
use rewind::device::Sgd;
use rewind::device::prelude::*;
use rewind::operands::Carry;
use rewind::shape::{Conv, Shape};
use rewind_emulator::Emulator;
use rewind_emulator::counters::LaunchCounts;
use rewind_emulator::machine::Options;
use rewind_emulator::profile::H100_SXM;
use rewind_emulator::report::{CAVEATS, Resource, bounds};
use rewind_paper::table::csv;

/// The paper's, and two that do not fit into the cache.
const SHAPES: [(&str, Shape); 3] = [
    ("paper", Shape::map(256, 10, 10, 16)),
    ("wide", Shape::map(128, 32, 32, 64)),
    ("deep", Shape::map(64, 14, 14, 256)),
];

/// Tensors that a block's backward step works on: x, x~, z1, z2, g, and the cotangent between the convolutions.
const WORKING_SET: u64 = 6;
/// A line of PTX is part of a main loop if it moves at least this share of its kernel's sectors.
const MAIN_LOOP_SHARE: f64 = 0.05;
/// Bytes of a lane's widest access.
const WIDEST_ACCESS: u64 = 16;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let wanted = |name: &str| {
        let named: Vec<_> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
        named.is_empty() || named.iter().any(|a| a.as_str() == name)
    };
    let emulator = rewind_emulator::install().expect("the emulator is built with the benches");
    emulator.set_gpu(&H100_SXM).expect("before the driver starts");
    // what is checked is the tests' affair
    let options = emulator.options().expect("the emulator answers");
    emulator.set_options(&Options { checks: false, counters: true, ..options }).expect("the emulator answers");
    println!("Lower bounds on {}, not measurements. What they leave out:", H100_SXM.device);
    CAVEATS.iter().for_each(|caveat| println!("  - {caveat}"));
    let mut rows = Vec::new();
    for (name, map) in SHAPES.into_iter().filter(|(name, _)| wanted(name)) {
        for (form, way) in Form::ALL.into_iter().flat_map(|form| Way::ALL.map(|way| (form, way))) {
            for math in form.maths(map) {
                let cuda = form.open(*math);
                if let Some(launches) = block_step(&emulator, &cuda, form, way, map) {
                    report(name, map, form, way, *math, &launches, &mut rows);
                }
            }
        }
    }
    if arguments.iter().any(|a| a == "--write") {
        std::fs::write("benches/kernels_bound.csv", csv(&HEADER, rows)).expect("the folder can be written");
    }
}

/// How the block is launched.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Chained,
    Cooperative,
}

impl Form {
    const ALL: [Form; 2] = [Form::Chained, Form::Cooperative];

    fn name(self) -> &'static str {
        match self {
            Form::Chained => "chained",
            Form::Cooperative => "cooperative",
        }
    }

    /// The arithmetics that have kernels of their own for such a map.
    fn maths(self, map: Shape) -> &'static [Math] {
        let half = self == Form::Chained && map.c().is_multiple_of(64);
        if half { &[Math::Tf32, Math::Fp16] } else { &[Math::Tf32] }
    }

    fn open(self, math: Math) -> Cuda {
        let cuda = Cuda::open(0, math).expect("the emulator is a GPU");
        if self == Form::Chained { cuda.chained() } else { cuda }
    }
}

/// How the way back finds the block's state.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Reconstructed,
    Coded,
}

impl Way {
    const ALL: [Way; 2] = [Way::Reconstructed, Way::Coded];

    fn name(self) -> &'static str {
        match self {
            Way::Reconstructed => "reconstructed",
            Way::Coded => "coded",
        }
    }

    /// Passes over the state of a block-step, forward and backward; the codes are a fraction of one.
    fn passes(self) -> u64 {
        match self {
            Way::Reconstructed => 7 + 20,
            Way::Coded => 9 + 15,
        }
    }

    /// Evaluations' worth of multiply-adds: one forward, one or two and a VJP of two backward.
    fn evaluations(self) -> u64 {
        match self {
            Way::Reconstructed => 5,
            Way::Coded => 4,
        }
    }
}

/// The launches of one block-step; none if the form does not serve the map.
fn block_step(emulator: &Emulator, cuda: &Cuda, form: Form, way: Way, map: Shape) -> Option<Vec<LaunchCounts>> {
    if form == Form::Cooperative && !cuda.is_cooperative(map) {
        return None;
    }
    let mut bed = Bed::new(cuda, map);
    emulator.reset_counters().expect("the emulator answers");
    let Bed {
        x,
        x_rec,
        grad,
        theta,
        grad_theta,
        velocity,
        stats,
        running,
        cache,
        scratch,
        lr,
        loss,
        errors,
        coder,
        code,
        carry,
    } = &mut bed;
    let h = 0.125;
    match way {
        Way::Reconstructed => {
            let (carry, errors) = (Carry::Correction, (errors, 0));
            cuda.euler_step(h, theta, stats, Some(running), x, cache, scratch).expect("euler_step");
            cuda.inverse_vjp(h, carry, theta, stats, x, x_rec, errors, cache, grad, grad_theta, scratch)
                .expect("inverse_vjp");
        }
        Way::Coded => {
            cuda.code_step(h, theta, stats, Some(running), coder, code, x, carry, cache, scratch).expect("code_step");
            cuda.decode_vjp(h, theta, stats, coder, code, x, cache, grad, grad_theta, scratch).expect("decode_vjp");
        }
    }
    let step = Sgd { lr, loss, momentum: 0.9, weight_decay: 5e-4 };
    cuda.sgd_block(step, grad_theta, velocity, theta).expect("sgd_block");
    cuda.synchronize().expect("no fault");
    Some(emulator.launches().expect("the emulator answers"))
}

const HEADER: [&str; 16] = [
    "shape",
    "form",
    "way",
    "math",
    "launch",
    "kernel",
    "blocks",
    "threads",
    "tensor_mflop",
    "fp32_mflop",
    "unique_bytes",
    "sectors_per_128_bytes",
    "conflict_share",
    "barriers",
    "bound_us",
    "binding",
];

/// Sectors for every 128 bytes that a warp asked for, on the worst line of a main loop; 4 is the least that whole rows take.
/// Lines that a single lane runs do not count: they wait at a grid's barrier, as often as it takes.
fn worst_sectors(counts: &LaunchCounts) -> f64 {
    let all: u64 = counts.accesses.values().map(|a| a.sectors).sum();
    let rows = counts.accesses.values().filter(|a| a.bytes > WIDEST_ACCESS * a.requests);
    let main = rows.filter(|a| a.sectors as f64 >= MAIN_LOOP_SHARE * all as f64);
    main.map(|a| 128.0 * a.sectors as f64 / a.bytes as f64).fold(0.0, f64::max)
}

fn report(
    name: &str,
    map: Shape,
    form: Form,
    way: Way,
    math: Math,
    launches: &[LaunchCounts],
    rows: &mut Vec<[String; 16]>,
) {
    let bytes = 4 * map.len() as u64;
    let in_cache = WORKING_SET * bytes <= u64::from(H100_SXM.l2_bytes);
    println!("\n{name} {map}, {}, {}, {math}:", form.name(), way.name());
    println!(
        "{:<34}{:>8}{:>12}{:>11}{:>13}{:>13}{:>11}{:>10}  binding",
        "kernel", "blocks", "tensor MF", "fp32 MF", "unique MiB", "sectors/128", "conflicts", "bound us"
    );
    let (mut unique, mut total_us) = (0, 0.0);
    for (i, counts) in launches.iter().enumerate() {
        let bounds = bounds(counts, &H100_SXM);
        // what fits stays in L2 from one kernel to the next
        let cached = |&(resource, _): &(&Resource, &f64)| !(in_cache && *resource == Resource::Dram);
        let (binding, us) = bounds
            .microseconds
            .iter()
            .filter(cached)
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or(("none", 0.0), |(resource, us)| (resource.name(), *us));
        let kernel = &counts.launch.kernel;
        let (tensor, fp32) = (counts.flop.tensor() as f64 / 1e6, counts.flop.fp32 as f64 / 1e6);
        let wavefronts = counts.shared.wavefronts().max(1);
        let conflicts = counts.shared.conflicts() as f64 / wavefronts as f64;
        let sectors = worst_sectors(counts);
        unique += counts.global.unique_bytes;
        total_us += us;
        println!(
            "{kernel:<34}{:>8}{tensor:>12.1}{fp32:>11.1}{:>13.2}{sectors:>13.2}{:>10.1}%{us:>10.2}  {binding}",
            counts.launch.blocks(),
            counts.global.unique_bytes as f64 / f64::from(1 << 20),
            100.0 * conflicts,
        );
        rows.push([
            name.into(),
            form.name().into(),
            way.name().into(),
            math.to_string(),
            i.to_string(),
            kernel.clone(),
            counts.launch.blocks().to_string(),
            counts.launch.threads().to_string(),
            format!("{tensor:.3}"),
            format!("{fp32:.3}"),
            counts.global.unique_bytes.to_string(),
            format!("{sectors:.3}"),
            format!("{conflicts:.4}"),
            counts.barriers.to_string(),
            format!("{us:.3}"),
            binding.into(),
        ]);
    }
    let bandwidth = if in_cache { H100_SXM.l2_bandwidth } else { H100_SXM.dram_bandwidth() };
    let evaluation = 2 * Conv::SAME_3X3.flop(map, map.c());
    let passes = way.passes();
    let memory_us = (passes * bytes) as f64 / bandwidth * 1e6;
    let peak = if math == Math::Fp16 { H100_SXM.tensor.f16 } else { H100_SXM.tensor.tf32 };
    let math_us = (way.evaluations() * evaluation) as f64 / (peak * H100_SXM.mma_sync) * 1e6;
    let floor_us = memory_us.max(math_us);
    println!(
        "block-step: {} launches; unique bytes {:.2} of {passes} passes; bound {total_us:.1} us, {:.2} of the floor of \
         {floor_us:.1} us ({})",
        launches.len(),
        unique as f64 / (passes * bytes) as f64,
        total_us / floor_us,
        if math_us > memory_us {
            "tensor cores"
        } else if in_cache {
            "L2"
        } else {
            "DRAM"
        }
    );
}
