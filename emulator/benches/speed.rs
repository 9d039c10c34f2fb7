//! Lane operations per second on one core: the fp32 tiled 3x3 convolution of `tests/cuda/conv3x3.cu`, a float4 sum and a
//! tensor-core product, with everything off, with counters, and with counters and checks.
//!
//! `cargo bench -p rewind-emulator --bench speed`; throughput is in lane operations (elements).

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rewind_emulator::exec::Launch;
use rewind_emulator::machine::{Machine, Options};
use rewind_emulator::memory::Origin;
use rewind_emulator::profile::H100_SXM;

struct Case {
    name: &'static str,
    source: &'static str,
    kernel: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    /// Sizes in bytes of the buffers that the first parameters point to, and the values of the others.
    buffers: &'static [usize],
    values: &'static [u64],
}

const CASES: &[Case] = &[
    Case {
        name: "conv3x3_fp32",
        source: "conv3x3",
        kernel: "conv3x3",
        grid: [4, 4, 1],
        block: [256, 1, 1],
        buffers: &[32 * 32 * 64, 32 * 32 * 64, 9 * 1024],
        values: &[32, 32],
    },
    Case {
        name: "vector_add4",
        source: "vector_add",
        kernel: "vector_add4",
        grid: [64, 1, 1],
        block: [256, 1, 1],
        buffers: &[1 << 18, 1 << 18, 1 << 18],
        values: &[1 << 14],
    },
    Case {
        name: "matmul16_fp32",
        source: "matmul",
        kernel: "matmul16",
        grid: [8, 8, 1],
        block: [16, 16, 1],
        buffers: &[1 << 16, 1 << 16, 1 << 16],
        values: &[128, 128],
    },
    Case {
        name: "mma_bf16",
        source: "mma",
        kernel: "mma_bf16",
        grid: [256, 1, 1],
        block: [32, 1, 1],
        buffers: &[512, 512, 256],
        values: &[16],
    },
];

fn ready(case: &Case, options: Options) -> (Machine, impl Fn(&mut Machine)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/ptx/{}.compute_80.ptx", case.source));
    let text = std::fs::read(path).expect("the PTX is checked in");
    let mut machine = Machine::new(&H100_SXM, options);
    let module = machine.load(&text).expect("supported");
    let kernel = module.kernels[case.kernel].clone();
    let mut values = Vec::new();
    for &bytes in case.buffers {
        let address = machine.memory.allocate(bytes as u64, Origin::Plain).expect("room");
        machine.memory.fill(address, &[0, 0, 0x80, 0x3f], bytes as u64 / 4).expect("allocated");
        values.push(address);
    }
    values.extend(case.values);
    let mut parameters = vec![0; kernel.parameter_bytes as usize];
    for (parameter, value) in kernel.parameters.iter().zip(values) {
        let at = parameter.offset as usize;
        parameters[at..at + parameter.bytes as usize].copy_from_slice(&value.to_le_bytes()[..parameter.bytes as usize]);
    }
    let launch = Launch { grid: case.grid, block: case.block, dynamic_shared: 0, cooperative: false };
    let run = move |machine: &mut Machine| machine.launch(&kernel, &launch, &parameters).expect("no fault");
    (machine, run)
}

fn speed(c: &mut Criterion) {
    let base = Options { checks: false, counters: false, threads: 1, ..Options::default() };
    for case in CASES {
        // What the launch executes, from the counters.
        let (mut machine, run) = ready(case, Options { counters: true, ..base });
        run(&mut machine);
        let lanes = machine.counts()[0].lane_instructions;
        let mut group = c.benchmark_group(case.name);
        group.throughput(Throughput::Elements(lanes));
        group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        for (name, options) in [
            ("plain", base),
            ("counters", Options { counters: true, ..base }),
            ("checks", Options { checks: true, ..base }),
            ("checks_and_counters", Options { checks: true, counters: true, ..base }),
        ] {
            let (mut machine, run) = ready(case, options);
            group.bench_function(name, |b| {
                b.iter(|| {
                    run(&mut machine);
                    machine.reset_counts();
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, speed);
criterion_main!(benches);
