//! Which pictures of a training folder are held out.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::Item;

/// Takes `fraction` of each class away from `items`, which are sorted by class: training pictures, then held-out ones, both in
/// the order they came in.
///
/// A picture's place in the lot is the SHA-256 of the seed and its path below `root`, so that neither the other pictures nor
/// the place of the set matter. Whole pictures are rounded so that the held-out ones of the first classes together are `fraction`
/// of those classes: small classes give one now and then. Each class keeps one to train on.
pub(super) fn split(items: Vec<Item>, root: &Path, fraction: f64, seed: u64) -> (Vec<Item>, Vec<Item>) {
    let mut out = vec![false; items.len()];
    let (mut seen, mut taken) = (0, 0);
    for class in items.chunk_by(|a, b| a.class == b.class) {
        let wanted = ((seen + class.len()) as f64 * fraction).round() as usize;
        let count = wanted.saturating_sub(taken).min(class.len() - 1);
        let mut lots: Vec<_> = class.iter().enumerate().map(|(i, item)| (lot(item, root, seed), seen + i)).collect();
        lots.sort_unstable();
        for &(_, index) in &lots[..count] {
            out[index] = true;
        }
        seen += class.len();
        taken += count;
    }
    let (held_out, train): (Vec<_>, Vec<_>) = items.into_iter().zip(out).partition(|&(_, out)| out);
    let bare = |items: Vec<(Item, bool)>| items.into_iter().map(|(item, _)| item).collect();
    (bare(train), bare(held_out))
}

fn lot(item: &Item, root: &Path, seed: u64) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(seed.to_le_bytes());
    // part by part, because systems separate them by other signs
    for part in item.path.strip_prefix(root).unwrap_or(&item.path).components() {
        hash.update(part.as_os_str().as_encoded_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}
