//! Lifting, by an operation of our own.

use rewind_rows::lanes::{Lanes, Slot, WARP};
use rewind_rows::row::{Level, Ternary, ternary};

/// d = a * b + c, rounded once.
struct Fma;
impl Ternary for Fma {
    type A = f32;
    type B = f32;
    type C = f32;
    type D = f32;
    #[inline(always)]
    fn of(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

#[test]
fn a_lifted_operation_writes_the_lanes_of_its_mask_alone() {
    let selected = ternary::<Fma>(Level::detect());
    let mut lanes = Lanes::new(4, 0, [].into());
    let slots: [Slot; 4] = std::array::from_fn(|i| Slot::register(i as u32));
    for (i, slot) in slots.iter().enumerate() {
        *lanes.row_mut(*slot) = std::array::from_fn(|lane| (lane as f32 + i as f32).to_bits());
    }
    #[allow(unsafe_code)]
    // SAFETY: the level was detected on this machine.
    unsafe {
        (selected.run)(&mut lanes, &slots, 0x0000_00f1);
    }
    for lane in 0..WARP {
        let x = lane as f32;
        let expected = if 0xf1 >> lane & 1 == 1 { (x + 1.0) * (x + 2.0) + x + 3.0 } else { x };
        assert_eq!(f32::from_bits(lanes.row(slots[0])[lane]), expected, "lane {lane}");
    }
}
