//! Cost of the checks for each full-mask row of four bytes, as a tiled kernel does them: several warps fill a tile, a
//! barrier, all of them read it, a barrier.
//!
//! `cargo bench -p rewind-emulator --bench checks`. Throughput is in rows, so that criterion's time over it is what one
//! row costs.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rewind_emulator::check::{Access, BlockChecks, Kind, LaunchChecks};

const WARPS: u32 = 8;
const ROWS: u32 = 64;
const ALL: [u32; WARPS as usize] = [0, 1, 2, 3, 4, 5, 6, 7];

fn access(warp: u32, kind: Kind) -> Access {
    Access { warp, mask: u32::MAX, bytes: 4, kind, strong: false, warp_only: false, line: 100 }
}

fn shared(c: &mut Criterion) {
    let mut group = c.benchmark_group("shared");
    group.throughput(Throughput::Elements(u64::from(ROWS * WARPS)));
    let launch = Arc::new(LaunchChecks::new());
    let offsets = |row: u32| std::array::from_fn(|lane| (row * 32 + lane as u32) * 4);
    let fresh = || {
        let mut block = BlockChecks::new(&launch, 0, WARPS, (ROWS * WARPS * 128) as usize);
        for row in 0..ROWS * WARPS {
            block.shared(&access(0, Kind::Write), &offsets(row)).expect("no race");
        }
        block.barrier(0, &ALL);
        block
    };
    let mut block = fresh();
    group.bench_function("write", |b| {
        b.iter(|| {
            for row in 0..ROWS * WARPS {
                block.shared(&access(row % WARPS, Kind::Write), &offsets(row)).expect("no race");
            }
            block.barrier(0, &ALL);
        });
    });
    let mut block = fresh();
    group.bench_function("read_by_all_warps", |b| {
        b.iter(|| {
            for row in 0..ROWS {
                for warp in 0..WARPS {
                    block.shared(&access(warp, Kind::Read), &offsets(row)).expect("no race");
                }
            }
            block.barrier(0, &ALL);
        });
    });
    let mut block = fresh();
    group.bench_function("broadcast", |b| {
        b.iter(|| {
            for row in 0..ROWS {
                for warp in 0..WARPS {
                    block.shared(&access(warp, Kind::Read), &[row * 4; 32]).expect("no race");
                }
            }
            block.barrier(0, &ALL);
        });
    });
    let mut block = fresh();
    group.bench_function("read_16_bytes_a_lane", |b| {
        b.iter(|| {
            for row in 0..ROWS {
                for warp in 0..WARPS {
                    let offsets = std::array::from_fn(|lane| row * 512 + lane as u32 * 16);
                    block.shared(&Access { bytes: 16, ..access(warp, Kind::Read) }, &offsets).expect("no race");
                }
            }
            block.barrier(0, &ALL);
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("new_block_of_48_kib", |b| b.iter(|| BlockChecks::new(&launch, 0, WARPS, 48 << 10)));
    group.bench_function("barrier", |b| b.iter(|| block.barrier(0, &ALL)));
    group.finish();
}

fn global(c: &mut Criterion) {
    let mut group = c.benchmark_group("global");
    group.throughput(Throughput::Elements(u64::from(ROWS * WARPS)));
    let launch = Arc::new(LaunchChecks::new());
    let mut block = BlockChecks::new(&launch, 1, WARPS, 0);
    let addresses = |row: u32| std::array::from_fn(|lane| 0x7000_0000 + u64::from(row * 32 + lane as u32) * 4);
    group.bench_function("write", |b| {
        b.iter(|| {
            for row in 0..ROWS * WARPS {
                block.global(&access(row % WARPS, Kind::Write), &addresses(row)).expect("no race");
            }
            block.barrier(0, &ALL);
        });
    });
    let mut blocks = [3, 4, 5, 6].map(|block| BlockChecks::new(&launch, block, WARPS, 0));
    group.bench_function("read_by_four_blocks", |b| {
        b.iter(|| {
            for row in 0..ROWS * WARPS {
                let addresses = addresses(100_000 + row);
                blocks[row as usize % 4].global(&access(row % WARPS, Kind::Read), &addresses).expect("no race");
            }
        });
    });
    group.bench_function("atomic_histogram", |b| {
        b.iter(|| {
            for row in 0..ROWS * WARPS {
                let bins =
                    std::array::from_fn(|lane| 0x9000_0000 + u64::from((row * 37 + lane as u32 * 101) % 256) * 4);
                block.global(&access(row % WARPS, Kind::Atomic), &bins).expect("no race");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, shared, global);
criterion_main!(benches);
