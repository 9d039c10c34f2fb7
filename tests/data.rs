//! The loader gives its buffers round and round: after the first batches nothing is allocated any more. Alone in its file,
//! since the counter sees every thread of the process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rewind::data::{Dataset, IMAGE_LEN, Loader, LoaderSpec, Split};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        BYTES.fetch_add(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn batches_cost_no_allocation() {
    let split = |n: usize| Split { pixels: vec![9; n * IMAGE_LEN], labels: vec![1; n] };
    let set = Arc::new(Dataset { name: "grey".into(), classes: 2, train: split(1000), test: split(100) });
    let before = BYTES.load(Ordering::SeqCst);
    let mut loader = Loader::new(set, LoaderSpec { seed: 0, batch: 32, augment: true }).unwrap();
    loader.start_train_epoch(1, 0);
    while loader.next_batch().is_some() {}
    let taken = BYTES.load(Ordering::SeqCst) - before;
    let planned = Loader::bytes(32, 1000) as usize;
    println!("loader: planned {planned} bytes, {taken} allocated with its thread");
    assert!(taken >= planned && taken < planned + 16_384, "planned {planned}, taken {taken}");

    let before = ALLOCATIONS.load(Ordering::SeqCst);
    let mut batches = 0;
    for epoch in 2..12 {
        loader.start_train_epoch(epoch, 3);
        for _ in 0..20 {
            batches += usize::from(loader.next_batch().is_some());
        }
        loader.start_test();
        while loader.next_batch().is_some() {
            batches += 1;
        }
    }
    let made = ALLOCATIONS.load(Ordering::SeqCst) - before;
    assert_eq!((batches, made), (10 * (20 + 4), 0), "batches, allocations");
}
