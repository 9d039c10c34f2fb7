//! The parameter block of each launch: what the engine hands over, against what the PTX's kernel takes. Every launch of every CUDA test
//! is compared, see `support::gpu`; here, that the comparison sees what it should.

use crate::support::gpu::{LAUNCHES, emulator, gpu, no_faults, other_arguments, ran_apart, turn};
use rewind::cuda::Launched;
use rewind::device::Math;
use rewind::device::prelude::*;
use rewind::memory::{Arena, Category};
use rewind::shape::Shape;

#[test]
fn arguments_of_other_sizes_are_told() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    if emulator().is_none() {
        return eprintln!("on a GPU nobody says how many bytes a kernel takes");
    }
    let cuda = gpu(Math::Fp32);
    let mut arena = Arena::new(&cuda, 1 << 12).expect("arena");
    let mut y = arena.tensor(Category::State, Shape::vector(33)).expect("room");
    cuda.fill(0.5, &mut y).expect("fill");
    no_faults();
    let launches = LAUNCHES.lock().expect("no launch has failed");
    let (function, handed_over) = launches.as_ref().and_then(|known| known.get("fill")).expect("a launch").clone();
    // an address, a float and a number of elements
    assert_eq!(handed_over, [8, 4, 8]);
    let told = |argument_bytes: &[usize]| other_arguments(&Launched { operation: "fill", function, argument_bytes });
    assert_eq!(told(&handed_over), None);
    for other in [&[][..], &[8], &[8, 4], &[8, 8, 8], &[8, 4, 4], &[4, 8, 8], &[8, 4, 8, 8]] {
        let what = told(other).expect("other sizes");
        assert!(what.contains("fill") && what.contains(&format!("{other:?}")) && what.contains("[8, 4, 8]"), "{what}");
    }
}
