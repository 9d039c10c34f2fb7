use super::bounds::*;
use super::*;
use crate::counters::{Category, Chain, Flop, GlobalCounts, Launch, Requests, SharedCounts, Wavefronts};
use crate::profile::{A100_SXM, H100_SXM, RTX_4090};

/// `y += a x` on 2^24 floats: x and y read, y written, 64 MiB each; 256 threads per block.
fn saxpy() -> LaunchCounts {
    let warps = 1 << 19;
    let row =
        |arrays: u64| Requests { requests: arrays * warps, sectors: arrays * warps * 4, bytes: arrays * warps * 128 };
    LaunchCounts {
        launch: Launch {
            kernel: "saxpy".into(),
            grid: [1 << 16, 1, 1],
            block: [256, 1, 1],
            registers: 16,
            ..Launch::default()
        },
        warp_instructions: [(Category::Fp32, warps), (Category::LoadGlobal, 2 * warps), (Category::Move, 5 * warps)]
            .into(),
        lane_instructions: 8 * warps * 32,
        flop: Flop { fp32: 1 << 25, ..Flop::default() },
        global: GlobalCounts {
            load: row(2),
            store: row(1),
            unique_load_bytes: 2 << 26,
            unique_store_bytes: 1 << 26,
            unique_bytes: 2 << 26,
            ..GlobalCounts::default()
        },
        ..LaunchCounts::default()
    }
}

/// A matrix product of 2^36 FLOP in bf16 tensor cores: 264 blocks of 128 threads with 64 KiB of shared memory.
fn matmul() -> LaunchCounts {
    LaunchCounts {
        launch: Launch {
            kernel: "matmul".into(),
            grid: [132, 2, 1],
            block: [128, 1, 1],
            dynamic_shared: 64 << 10,
            registers: 128,
            ..Launch::default()
        },
        warp_instructions: [(Category::TensorBf16, 1 << 24), (Category::LoadShared, 1 << 21)].into(),
        lane_instructions: (9 << 21) * 32,
        flop: Flop { tensor_bf16: 1 << 36, ..Flop::default() },
        special: 1 << 20,
        global: GlobalCounts { unique_load_bytes: 1 << 25, unique_bytes: 1 << 25, ..GlobalCounts::default() },
        shared: SharedCounts {
            load: Wavefronts { requests: 1 << 21, wavefronts: 5 << 21, ideal: 4 << 21 },
            ..SharedCounts::default()
        },
        ..LaunchCounts::default()
    }
}

/// The figures by hand have five digits.
fn close(ours: f64, by_hand: f64) {
    assert!((ours - by_hand).abs() <= 5e-5 * by_hand.abs(), "{ours} against {by_hand}");
}

/// 134.217728 MB over 3.35232, 1.5552 and 1.008096 TB/s.
#[test]
fn saxpy_is_short_of_memory_bandwidth_everywhere() {
    for (profile, us) in [(&H100_SXM, 40.037), (&A100_SXM, 86.303), (&RTX_4090, 133.14)] {
        let b = bounds(&saxpy(), profile);
        assert_eq!(b.binding, Resource::Dram, "{}", profile.name);
        close(b.lower_us, us);
    }
}

/// 68.719476736 TFLOP over 62 % of the peak of 989.4 and the peaks of 312 and 165.2 TFLOP/s: 112.03, 220.25 and 415.98 us; 264 blocks are exactly
/// two for each of 132 multiprocessors, but three for some of 108 (2.4444 on average) and of 128 (2.0625).
#[test]
fn matmul_is_short_of_tensor_cores_and_waits_for_the_last_block() {
    for (profile, us, tail) in [(&H100_SXM, 112.03, 1.0), (&A100_SXM, 270.31, 1.22727), (&RTX_4090, 605.06, 1.45455)] {
        let b = bounds(&matmul(), profile);
        assert_eq!(b.binding, Resource::Tensor, "{}", profile.name);
        close(b.lower_us, us);
        close(b.tail, tail);
    }
}

/// 65 KiB per block with what is reserved: three fit into 228 KiB, two into 164, one into 100; 264 blocks over that.
#[test]
fn waves_follow_from_occupancy() {
    for (profile, blocks, waves) in [(&H100_SXM, 3, 0.66667), (&A100_SXM, 2, 1.2222), (&RTX_4090, 1, 2.0625)] {
        let b = bounds(&matmul(), profile);
        assert_eq!(b.blocks_per_sm, blocks);
        close(b.waves, waves);
    }
}

/// Every formula on the H100: 132 multiprocessors at 1.98 GHz make 261.36 G clocks per second.
#[test]
fn each_resource_by_hand() {
    let us = |formula: fn(&LaunchCounts, &Profile) -> f64, counts: &LaunchCounts| formula(counts, &H100_SXM) * 1e6;
    // 128 MiB unique and 64 MiB of stores over 5.5 TB/s; all three arrays' sectors are the same here.
    close(us(l2, &saxpy()), 36.605);
    close(us(l2_without_l1, &saxpy()), 36.605);
    // 10,485,760 wavefronts, one a clock.
    close(us(shared, &matmul()), 40.120);
    // 2^25 over 66.908 TFLOP/s.
    close(us(fp32, &saxpy()), 0.50150);
    // 2^20 special functions, 16 a clock.
    close(us(special, &matmul()), 0.25075);
    // Three times 2^19 warp instructions, four a clock; the moves are free.
    close(us(issue, &saxpy()), 1.5045);
    let other = LaunchCounts {
        flop: Flop {
            fp64: 1 << 30,
            half: 1 << 30,
            tensor_tf32: 1 << 30,
            tensor_f16: 1 << 30,
            tensor_f16_sum_f16: 1 << 30,
            ..Flop::default()
        },
        ..LaunchCounts::default()
    };
    // 1.0737 GFLOP over 33.454 and 133.82 TFLOP/s, and once over 494.7 and twice over 989.4.
    close(us(fp64, &other), 32.096);
    close(us(half, &other), 8.0240);
    // of which mma.sync reaches 62 %
    close(us(tensor, &other), 7.0016);
}

#[test]
fn atomics_load_their_sectors_but_once() {
    let mut counts = saxpy();
    counts.global = GlobalCounts {
        atomic: Requests { requests: 1000, sectors: 32_000, bytes: 128_000 },
        unique_load_bytes: 32,
        unique_store_bytes: 32,
        unique_bytes: 32,
        ..GlobalCounts::default()
    };
    close(l2(&counts, &H100_SXM), 32_000.0 * 32.0 / 5.5e12);
    counts.global.unique_load_bytes = 3_200_000;
    close(l2(&counts, &H100_SXM), 3_200_000.0 / 5.5e12);
}

/// 2100 and 700 clocks at 1.98 GHz. 264 blocks of 128 threads with 65 KiB find room at once on 132 multiprocessors; 2,641 blocks do
/// not: three places on each make seven turns, and the last of them has blocks that take 7 x 700 clocks one after the other.
#[test]
fn latency_is_the_longest_chain_or_turns_of_the_shortest() {
    let mut counts = matmul();
    close(latency(&counts, &H100_SXM), 0.0);
    counts.chain = Some(Chain { gpu: "h100-sxm".into(), longest: 2100, shortest: 700 });
    close(latency(&counts, &H100_SXM) * 1e6, 1.06061);
    counts.launch.grid = [2641, 1, 1];
    close(latency(&counts, &H100_SXM) * 1e6, 2.47475);
    // as many registers as make one block resident by the estimate
    counts.launch.registers = 255;
    close(latency(&counts, &H100_SXM) * 1e6, 2.47475);
    // other latencies than those that were followed
    close(latency(&counts, &A100_SXM), 0.0);
}

#[test]
fn a_small_grid_with_a_long_chain_is_bound_by_latency() {
    let mut counts = saxpy();
    counts.global = GlobalCounts::default();
    counts.chain = Some(Chain { gpu: "h100-sxm".into(), longest: 19_800, shortest: 1 });
    let b = bounds(&counts, &H100_SXM);
    assert_eq!((b.binding, b.binding.name()), (Resource::Latency, "latency"));
    close(b.lower_us, 10.0);
    close(b.microseconds[&Resource::Latency], 10.0);
}

#[test]
fn a_grid_smaller_than_the_device_leaves_the_rest_idle() {
    let mut counts = matmul();
    counts.launch.grid = [1, 1, 1];
    close(tail(&counts, &H100_SXM), 132.0);
    counts.launch.grid = [133, 1, 1];
    close(tail(&counts, &H100_SXM), 264.0 / 133.0);
    counts.launch.grid = [0, 1, 1];
    close(tail(&counts, &H100_SXM), 1.0);
}

#[test]
fn launches_of_a_kernel_add_up() {
    let mut small = matmul();
    small.flop.tensor_bf16 = 0;
    small.shared = SharedCounts::default();
    let launches = [saxpy(), matmul(), small, saxpy()];
    let kernels = by_kernel(&launches, &A100_SXM);
    assert_eq!(
        kernels.iter().map(|k| (k.kernel.as_str(), k.launches)).collect::<Vec<_>>(),
        [("matmul", 2), ("saxpy", 2)]
    );
    let alone: f64 = launches[1..3].iter().map(|c| bounds(c, &A100_SXM).lower_us).sum();
    close(kernels[0].lower_us, alone);
    assert_eq!((kernels[0].binding, kernels[1].binding), (Resource::Tensor, Resource::Dram));
    close(kernels[1].lower_us, 2.0 * 86.303);
    assert_eq!(kernels[1].sectors_per_request(), Some(4.0));
    assert_eq!((kernels[1].conflict_ratio(), kernels[0].conflict_ratio()), (None, Some(0.2)));
}

#[test]
fn the_table_reads() {
    let mut idle = LaunchCounts::default();
    idle.launch.kernel = "nothing(int, float const*)".into();
    let mut waits = saxpy();
    waits.chain = Some(Chain { gpu: "h100-sxm".into(), longest: 2100, shortest: 700 });
    let text = table(&[waits, matmul(), saxpy(), idle], &H100_SXM);
    let golden = include_str!("golden.txt");
    assert_eq!(text, golden, "\n{text}");
}

#[test]
fn no_counts_make_an_empty_table_and_json() {
    assert!(table(&[], &RTX_4090).ends_with("All 0 launches: at least 0 us.\n"));
    let json: serde_json::Value = serde_json::from_str(&json(&[matmul()], &RTX_4090).unwrap()).unwrap();
    assert_eq!(json["gpu"], "rtx-4090");
    assert_eq!(json["lower_bound_not_a_measurement"], true);
    assert_eq!(json["kernels"][0]["binding"], "tensor");
    close(json["kernels"][0]["microseconds"]["tensor"].as_f64().unwrap(), 605.06);
}

/// Counts from a file may be anything.
#[test]
fn absurd_counts_do_not_panic() {
    let huge = Requests { requests: u64::MAX, sectors: u64::MAX, bytes: u64::MAX };
    let pass = Wavefronts { requests: u64::MAX, wavefronts: u64::MAX, ideal: 0 };
    let counts = LaunchCounts {
        launch: Launch {
            grid: [u32::MAX; 3],
            block: [u32::MAX; 3],
            static_shared: u32::MAX,
            dynamic_shared: 1,
            registers: u32::MAX,
            ..Launch::default()
        },
        warp_instructions: [(Category::Fp32, u64::MAX), (Category::Half, u64::MAX)].into(),
        lane_instructions: u64::MAX,
        flop: Flop { fp32: u64::MAX, tensor_tf32: u64::MAX, tensor_f16: u64::MAX, ..Flop::default() },
        global: GlobalCounts {
            load: huge,
            store: huge,
            atomic: huge,
            unique_bytes: u64::MAX,
            ..GlobalCounts::default()
        },
        shared: SharedCounts { load: pass, store: pass, atomic: pass },
        chain: Some(Chain { gpu: "h100-sxm".into(), longest: u64::MAX, shortest: u64::MAX }),
        ..LaunchCounts::default()
    };
    let text = table(&[counts.clone(), counts], &H100_SXM);
    assert!(text.contains("tensor"), "{text}");
}
