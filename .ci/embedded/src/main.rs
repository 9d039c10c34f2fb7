//! Prints what is embedded and which form of it each GPU gets, and computes on the first one.

use rewind::cuda::{Cuda, doctor};
use rewind::device::{Device, Elementwise, Math};
use rewind::memory::{Arena, Category};
use rewind::shape::Shape;

fn main() -> rewind::error::Result<()> {
    for (name, finding) in doctor::findings() {
        println!("{name}: {finding}");
    }
    let cuda = Cuda::open(0, Math::Tf32)?;
    let shape = Shape::vector(1000);
    let mut arena = Arena::new(&cuda, 1 << 20)?;
    let mut x = arena.tensor(Category::State, shape)?;
    let mut y = arena.tensor(Category::State, shape)?;
    cuda.fill(1.5, &mut x)?;
    cuda.fill(2.0, &mut y)?;
    cuda.axpby(2.0, &x, 1.0, &mut y)?;
    let mut values = vec![0.0; 1000];
    cuda.download(&y, &mut values)?;
    assert!(values.iter().all(|&value| value == 5.0), "{values:?}");
    println!("2 x 1.5 + 2 is {} there", values[0]);
    Ok(())
}
