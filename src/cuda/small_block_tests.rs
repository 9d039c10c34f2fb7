//! Which maps take the form, on which card and in which arithmetic.

use super::*;

const H100: Limits = Limits { multiprocessors: 132, shared_bytes: 227 << 10, math: Math::Tf32 };
const A100: Limits = Limits { multiprocessors: 108, shared_bytes: 163 << 10, math: Math::Tf32 };
const RTX_4090: Limits = Limits { multiprocessors: 128, shared_bytes: 99 << 10, math: Math::Tf32 };

/// Each card in each arithmetic.
fn all() -> impl Iterator<Item = Limits> {
    let with = |math| [H100, A100, RTX_4090].map(|card| Limits { math, ..card });
    [Math::Tf32, Math::Fp32, Math::Fp16, Math::Bf16].into_iter().flat_map(with)
}

#[test]
fn the_papers_map_fits_every_card() {
    let map = Shape::map(256, 10, 10, 16);
    for card in all() {
        let (images, blocks) = if card.multiprocessors == A100.multiprocessors { (3, 86) } else { (2, 128) };
        let form = card.form(map).expect("fits");
        assert_eq!((form.images, form.blocks(), form.math), (images, blocks, card.math));
    }
}

#[test]
fn what_has_no_room_in_f16_takes_tf32() {
    let card = Limits { math: Math::Fp16, ..RTX_4090 };
    // a border around four pixels is twice as large as what it is around
    let form = card.form(Shape::map(128 * 70, 2, 2, 16)).expect("fits");
    assert_eq!(form.math, Math::Tf32);
    assert_eq!(card.form(Shape::map(128 * 7, 2, 2, 16)).expect("fits").math, Math::Fp16);
}

#[test]
fn what_does_not_fit_takes_another_form() {
    for card in all() {
        for map in [
            Shape::map(4096, 10, 10, 16),
            Shape::map(1, 64, 64, 16),
            Shape::map(1, 40, 40, 32),
            Shape::map(2, 10, 10, 8),
            Shape::map(2, 10, 10, 64),
            Shape::map(0, 10, 10, 16),
        ] {
            assert_eq!(card.form(map), None, "{map}");
        }
    }
    let without = Limits { shared_bytes: 0, ..H100 };
    assert_eq!(without.form(Shape::map(1, 2, 2, 16)), None);
}

#[test]
fn every_batch_has_room_in_the_workspace_of_a_larger_one() {
    for card in all() {
        for (map, c) in [(Shape::map(1, 10, 10, 16), 16), (Shape::map(1, 7, 6, 32), 32)] {
            let mut planned = 0;
            for n in 1..2000 {
                let map = map.with_batch(n);
                assert!(card.workspace(map) >= planned, "{map}");
                planned = card.workspace(map);
                if let Some(form) = card.form(map) {
                    assert!(form.blocks() * (4 * c + 36 * c * c + 4) <= planned, "{map}");
                    assert!(form.blocks() <= card.multiprocessors && form.images * form.blocks() >= n, "{map}");
                }
            }
        }
    }
}

#[test]
fn the_papers_states_stay_in_shared_memory_where_there_is_room() {
    let map = Shape::map(256, 10, 10, 16);
    for card in all() {
        let held = card.holds(card.form(map).expect("fits"));
        // 99 KB are not enough for two more maps
        assert_eq!(held, Some(card.shared_bytes > 99 << 10), "{} KB, {}", card.shared_bytes >> 10, card.math);
    }
    let h100 = Limits { math: Math::Fp16, ..H100 };
    assert_eq!(h100.holds(h100.form(Shape::map(256, 10, 10, 32)).expect("fits")), Some(false));
}
