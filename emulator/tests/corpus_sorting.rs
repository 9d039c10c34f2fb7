//! Kernels that sort, search and branch: bitonic and radix sorts, a walk down a tree, a switch in a loop.

mod support;

use support::corpus::{Random, same_everywhere};

#[test]
fn bitonic_sorts_in_shared_memory() {
    // The last needs 64 KiB of dynamic shared memory.
    for (n, shape) in [(64usize, (3, 32)), (512, (2, 100)), (16384, (1, 512))] {
        let mut random = Random(1);
        let x: Vec<u32> = (0..n * shape.0 as usize).map(|_| random.bits() as u32).collect();
        let y = same_everywhere("sorting", |bench| {
            let px = bench.put(&x);
            bench.go_shaped("bitonic", ([shape.0, 1, 1], [shape.1, 1, 1], 4 * n as u32), &[px, n as u64]);
            bench.get::<u32>(px, x.len())
        });
        let mut expected = x;
        expected.chunks_mut(n).for_each(|block| block.sort_unstable());
        assert_eq!(y, expected);
    }
}

#[test]
fn a_radix_pass_is_stable() {
    for (blocks, shift) in [(1usize, 0), (3, 4), (2, 28)] {
        let mut random = Random(2);
        let x: Vec<u32> = (0..256 * blocks).map(|_| random.bits() as u32).collect();
        let y = same_everywhere("sorting", |bench| {
            let (px, py) = (bench.put(&x), bench.empty(4 * x.len()));
            bench.go("radix_pass", (blocks as u32, 256), &[py, px, shift]);
            bench.get::<u32>(py, x.len())
        });
        let mut expected = x;
        expected.chunks_mut(256).for_each(|block| block.sort_by_key(|v| v >> shift & 15));
        assert_eq!(y, expected);
    }
}

/// As the kernel declares it.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Node {
    split: f32,
    axis: i16,
    leaf: u8,
    padding: u8,
    left: i32,
    right: i32,
}

/// Splits at the middle until a box holds one point; leaves count their points in `right`.
fn tree(points: &mut [[f32; 3]], axis: usize, nodes: &mut Vec<Node>) -> i32 {
    let index = nodes.len();
    nodes.push(Node { split: 0.0, axis: axis as i16, leaf: 1, padding: 0, left: 0, right: points.len() as i32 });
    if points.len() > 1 {
        points.sort_by(|a, b| a[axis].total_cmp(&b[axis]));
        let (low, high) = points.split_at_mut(points.len() / 2);
        let split = low[low.len() - 1][axis];
        let left = tree(low, (axis + 1) % 3, nodes);
        let right = tree(high, (axis + 1) % 3, nodes);
        nodes[index] = Node { split, axis: axis as i16, leaf: 0, padding: 0, left, right };
    }
    index as i32
}

/// What the walk counts, by recursion.
fn reached(nodes: &[Node], at: i32, low: [f32; 3], high: [f32; 3]) -> i32 {
    let node = &nodes[at as usize];
    if node.leaf == 1 {
        return node.right;
    }
    let axis = node.axis as usize;
    let left = if low[axis] <= node.split { reached(nodes, node.left, low, high) } else { 0 };
    left + if high[axis] > node.split { reached(nodes, node.right, low, high) } else { 0 }
}

#[test]
fn a_tree_is_walked_with_a_stack() {
    for (n, shape) in [(100usize, (4, 32)), (33, (1, 64))] {
        let mut random = Random(3);
        let mut point = || [random.float(1.0), random.float(1.0), random.float(1.0)];
        let mut points: Vec<[f32; 3]> = (0..200).map(|_| point()).collect();
        let mut nodes = Vec::new();
        tree(&mut points, 0, &mut nodes);
        let corners: Vec<_> = (0..n).map(|_| (point(), point())).collect();
        let lows: Vec<_> = corners.iter().map(|(a, b)| [0, 1, 2].map(|i| a[i].min(b[i]))).collect();
        let highs: Vec<_> = corners.iter().map(|(a, b)| [0, 1, 2].map(|i| a[i].max(b[i]))).collect();
        let found = same_everywhere("sorting", |bench| {
            let (pn, pl, ph, pf) = (bench.put(&nodes), bench.put(&lows), bench.put(&highs), bench.empty(4 * n));
            bench.go("count_in_box", shape, &[pf, pn, pl, ph, n as u64]);
            bench.get::<i32>(pf, n)
        });
        let expected: Vec<i32> = lows.iter().zip(&highs).map(|(&l, &h)| reached(&nodes, 0, l, h)).collect();
        assert_eq!(found, expected);
    }
}

/// The kernel's machine: result and steps.
fn interpreted(program: &[u8; 32], input: i64, i: i64) -> (i64, i32) {
    let (mut a, mut b, mut steps, mut pc) = (input, i, 0, 0);
    while pc < 32 {
        match program[pc as usize] {
            0 => pc = 32,
            1 => a = a.wrapping_add(b),
            2 => a = a.wrapping_sub(b),
            3 => a = a.wrapping_mul(b | 1),
            4 => b = a ^ a >> 7,
            5 => a = if b != 0 { a.wrapping_div(b) } else { -1 },
            6 => a = if b != 0 { a.wrapping_rem(b) } else { 7 },
            7 => a = a.wrapping_abs(),
            8 => pc -= if a & 1 == 1 && steps < 64 { 3 } else { 0 },
            9 => a = i64::from(a.count_ones() + b.leading_zeros()),
            10 => b = b.rotate_right(3),
            _ => a = !a,
        }
        pc += 1;
        steps += 1;
    }
    (a.wrapping_add(b), steps)
}

#[test]
fn a_switch_in_a_loop_diverges_and_meets_again() {
    for (n, shape) in [(100usize, (2, 64)), (31, (1, 32)), (300, (3, 128))] {
        let mut random = Random(4);
        let mut program = [0u8; 32];
        program.iter_mut().for_each(|op| *op = 1 + random.below(11) as u8);
        program[2] = 3;
        program[30] = 0;
        let inputs: Vec<i64> = (0..n).map(|_| random.bits() as i64 >> random.below(60)).collect();
        let got = same_everywhere("sorting", |bench| {
            let address = bench.module.variables["program"].0;
            bench.machine.memory.write(address, &program).unwrap();
            let (inputs, results) = (bench.put(&inputs), bench.empty(8 * n));
            bench.go("interpret", shape, &[results, inputs, n as u64]);
            (bench.get::<i64>(results, n), bench.get::<i32>(bench.module.variables["executed"].0, 1))
        });
        let expected: Vec<_> = inputs.iter().enumerate().map(|(i, &v)| interpreted(&program, v, i as i64)).collect();
        assert_eq!(got.0, expected.iter().map(|e| e.0).collect::<Vec<_>>());
        assert_eq!(got.1, [expected.iter().map(|e| e.1).sum::<i32>()]);
    }
}
