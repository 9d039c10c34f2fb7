//! The same bits for any number of threads.

use rewind::cpu::{Cpu, Isa};
use rewind::operands::Carry;
use rewind::shape::Conv;

use crate::MAPS;
use crate::batch_norm::norms;
use crate::block::{Body, forward_block, inverse_vjp};
use crate::conv::convolutions;
use crate::elementwise::distances;
use crate::head::head;

#[test]
fn same_bits_for_any_number_of_threads() {
    for isa in Isa::available() {
        for map in MAPS {
            let run = |threads| {
                let cpu = Cpu::with_isa(isa, threads).expect("cpu");
                let mut all = convolutions(&cpu, map, Conv::SAME_3X3, map.c(), false);
                all.extend(norms(&cpu, map));
                all.extend(head(&cpu, map, 10));
                all.extend(distances(&cpu, map));
                all.extend(forward_block(&cpu, map, Body::Own));
                all.extend(inverse_vjp(&cpu, map, Carry::Correction, Body::Own));
                all.into_iter()
                    .map(|(name, values)| (name, values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()))
                    .collect::<Vec<_>>()
            };
            let one = run(1);
            for threads in [2, 5] {
                for ((name, one), (_, many)) in one.iter().zip(run(threads)) {
                    assert_eq!(one, &many, "{name} of {map} on {isa:?} with {threads} threads");
                }
            }
        }
    }
}
