//! A look at every picture of a set before it is used: which are broken, and how large the largest is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::decode;
use crate::error::Broken;
use crate::resize::Prepare;
use crate::scan::Item;
use crate::source::Limits;

/// How far a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Its header: fast, and damage behind it is not found.
    Header,
    /// All of it.
    Whole,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Width and height of each picture as decoded; none if it is broken.
    pub sizes: Vec<Option<(u32, u32)>>,
    /// The broken ones by their index, in order.
    pub broken: Vec<(usize, Broken)>,
    /// The largest of the others.
    pub limits: Limits,
}

/// Looks at every file, on `threads` threads. `progress` hears how many are done, on the calling thread; the result does not
/// depend on the threads.
///
/// At [`Depth::Whole`] each thread takes up to 16 bytes for each pixel of the largest picture, beside the largest file.
pub fn survey(
    items: &[Item],
    prepare: Prepare,
    depth: Depth,
    threads: usize,
    mut progress: impl FnMut(usize),
) -> Survey {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut found = vec![None; items.len()];
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                let mut file = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    if sender.send((index, look(item, prepare, depth, &mut file))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (done, (index, result)) in receiver.iter().enumerate() {
            found[index] = Some(result);
            progress(done + 1);
        }
    });
    let mut survey = Survey { sizes: Vec::with_capacity(items.len()), broken: Vec::new(), limits: Limits::NONE };
    for (index, (item, result)) in items.iter().zip(found).enumerate() {
        let result = result.expect("every index was looked at");
        survey.sizes.push(result.as_ref().ok().map(|&(size, _)| size));
        match result {
            Ok(((w, h), (pw, ph))) => {
                let most = &mut survey.limits;
                most.file_bytes = most.file_bytes.max(item.bytes);
                most.pixels = most.pixels.max(u64::from(w) * u64::from(h));
                most.prepared_pixels = most.prepared_pixels.max(u64::from(pw) * u64::from(ph));
                most.side = most.side.max(w).max(h).max(pw).max(ph);
            }
            Err(broken) => survey.broken.push((index, broken)),
        }
    }
    survey
}

/// Size as decoded and as prepared.
type Sizes = ((u32, u32), (u32, u32));

fn look(item: &Item, prepare: Prepare, depth: Depth, file: &mut Vec<u8>) -> Result<Sizes, Broken> {
    let limits = Limits::default();
    let (width, height) = match depth {
        Depth::Header => decode::size(&item.path, limits.pixels)?,
        Depth::Whole => {
            let picture = decode::decode_with(&item.path, limits.file_bytes, limits.pixels, file)?;
            (picture.width, picture.height)
        }
    };
    let prepared =
        limits.prepared(prepare, width, height).map_err(|reason| Broken { path: item.path.clone(), reason })?;
    Ok(((width, height), prepared))
}
