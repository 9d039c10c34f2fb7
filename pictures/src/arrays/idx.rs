//! IDX: two bytes 0, a type (8 is unsigned bytes), the number of dimensions, each as four bytes with the highest first, the data.

use std::io::Read;
use std::path::Path;

use super::{Arrays, check_labels, find, open_bytes, read_exact};
use crate::error::{Error, Result};

/// Most pictures, and most pixels of one: beyond any set of this format, and their product fits 64 bits.
const MOST: u32 = 1 << 28;
const CLASSES: u8 = 10;

/// The names under which one of the four files is found.
fn names(split: &str, what: &str) -> Vec<String> {
    let plain = [format!("{split}-{what}-ubyte"), format!("{split}-{}-ubyte", what.replace("-idx", ".idx"))];
    plain.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]).collect()
}

const PARTS: [(&str, &str); 4] =
    [("train", "images-idx3"), ("train", "labels-idx1"), ("t10k", "images-idx3"), ("t10k", "labels-idx1")];

pub(super) fn is_in(dir: &Path) -> bool {
    PARTS.iter().any(|(split, what)| find(dir, &names(split, what)).is_some())
}

/// The pictures to train on and those to test on.
pub(super) fn read(dir: &Path) -> Result<(Arrays, Arrays)> {
    let mut paths = Vec::new();
    for (split, what) in PARTS {
        let name = format!("{split}-{what}-ubyte");
        let found = find(dir, &names(split, what));
        paths.push(found.ok_or_else(|| {
            Error::set(
                &dir.join(name),
                "this file of the set is missing while others are there (plain or .gz): get the set anew",
            )
        })?);
    }
    Ok((pair(&paths[0], &paths[1])?, pair(&paths[2], &paths[3])?))
}

fn pair(images: &Path, labels: &Path) -> Result<Arrays> {
    let ([count, height, width], pixels) = file::<3>(images)?;
    let ([label_count], of_each) = file::<1>(labels)?;
    if count != label_count {
        let problem =
            format!("{label_count} labels, where {} has {count} pictures: get the set anew", images.display());
        return Err(Error::set(labels, problem));
    }
    check_labels(labels, &of_each, CLASSES)?;
    Ok(Arrays { height, width, channels: 1, pixels, labels: of_each })
}

/// The sizes and the bytes of one file.
fn file<const DIMENSIONS: usize>(path: &Path) -> Result<([u32; DIMENSIONS], Vec<u8>)> {
    let (mut bytes, most) = open_bytes(path)?;
    let magic = read_exact(path, &mut bytes, 4, most)?;
    if magic != [0, 0, 8, DIMENSIONS as u8] {
        let problem = format!(
            "the file begins with {magic:?}, expected [0, 0, 8, {DIMENSIONS}]: it is no such file of MNIST's kind"
        );
        return Err(Error::set(path, problem));
    }
    let mut sizes = [0; DIMENSIONS];
    for size in &mut sizes {
        let part = read_exact(path, &mut bytes, 4, most)?;
        *size = u32::from_be_bytes([part[0], part[1], part[2], part[3]]);
    }
    let each = sizes[1..].iter().try_fold(1u32, |product, &size| product.checked_mul(size));
    let len = match each {
        Some(each) if each <= MOST && each > 0 && sizes[0] <= MOST && sizes[0] > 0 => {
            u64::from(sizes[0]) * u64::from(each)
        }
        _ => return Err(Error::set(path, format!("the file's sizes {sizes:?} make no sense: get the set anew"))),
    };
    let data = read_exact(path, &mut bytes, len, most)?;
    let more = bytes.take(1).read_to_end(&mut Vec::new()).map_err(|e| super::damaged(path, &e))?;
    if more > 0 {
        return Err(Error::set(
            path,
            format!("the file goes on after the {len} bytes that it promises: get the set anew"),
        ));
    }
    Ok((sizes, data))
}
