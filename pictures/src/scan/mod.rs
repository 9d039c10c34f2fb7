//! A folder of pictures, a sub-folder for each class, as ImageNet lies on disk and torchvision's `ImageFolder` reads it.
//!
//! Two layouts are known: `DIR/train/CLASS/...` beside `DIR/val/CLASS/...` (or `valid`, or `test`: the first that is there),
//! and `DIR/CLASS/...` alone. Where no pictures are held out, or by wish, a part of each class is: [`HeldOut::Split`].
//!
//! - Classes are the sub-folders, sorted by name; those that begin with a dot are none. Their number in that order is the label.
//! - Folders inside a class are walked too, and links are followed. A link that leads back to a folder around it is refused.
//! - A picture is a regular file whose name ends in .jpg, .jpeg, .png, .webp, .bmp or .gif, in any case. Others are counted.
//!   Pipes, sockets and devices by such names, links to nothing, and files of kinds that are not read (.tif, .tiff, .ppm,
//!   .pgm) are listed as broken; none is opened.
//! - A class of the training folder without pictures is refused, as are names of classes that differ only by case or are not
//!   UTF-8, and a held-out class that is not trained on. A class of which nothing is held out is fine.
//! - Names of pictures may be anything that the system allows.

mod split;
mod walk;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Broken, Error, Result};
use walk::Walked;

/// Classes that a set may have: a label has 16 bits.
pub const MAX_CLASSES: usize = 1 << 16;

/// One picture of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The file, below the folder that was scanned.
    pub path: PathBuf,
    /// Its class.
    pub class: u16,
    /// Bytes of the file.
    pub bytes: u64,
    /// When it was last written, where the system knows.
    pub modified: Option<SystemTime>,
}

/// The pictures of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Names of the classes, sorted.
    pub classes: Vec<String>,
    /// Pictures to train on: by class, then by folder, then by name.
    pub train: Vec<Item>,
    /// Pictures held out, in the same order.
    pub held_out: Vec<Item>,
    /// What goes by a picture's name and cannot be one.
    pub broken: Vec<Broken>,
    /// Files that do not go by a picture's name.
    pub others: usize,
}

/// Where the pictures to validate on come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeldOut {
    /// From the folder `val`, `valid` or `test`.
    Folder,
    /// From the training folder: this part of each class, the same for one seed whatever the order of the file system.
    Split {
        /// The part held out, above 0 and below 1.
        fraction: f64,
        /// Decides which pictures.
        seed: u64,
    },
}

/// Finds the pictures of `dir`. No file is opened.
///
/// # Errors
/// [`Error::Set`] with a sentence for each thing that the module's text refuses; [`Error::Usage`] for a fraction out of range;
/// [`Error::Io`] for a folder that cannot be read.
pub fn scan(dir: &Path, held_out: HeldOut) -> Result<Folder> {
    if let HeldOut::Split { fraction, .. } = held_out
        && !(fraction > 0.0 && fraction < 1.0)
    {
        return Err(Error::Usage(format!(
            "a validation split of {fraction} was asked for: it lies above 0 and below 1"
        )));
    }
    match dir.metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(Error::set(
                dir,
                "there is no such folder: name one that holds a folder of pictures for each class",
            ));
        }
        Err(e) => return Err(Error::io("look into", dir)(e)),
        Ok(found) if !found.is_dir() => {
            return Err(Error::set(dir, "this is no folder: name one that holds a folder of pictures for each class"));
        }
        Ok(_) => {}
    }
    let train = dir.join("train");
    // a class may be called "train", of vehicles for one: it then holds pictures, not classes
    let root = if train.is_dir() && !walk::folders(&train)?.is_empty() { train } else { dir.to_path_buf() };
    let val = ["val", "valid", "test"].map(|name| dir.join(name)).into_iter().find(|path| root != dir && path.is_dir());
    match (held_out, val) {
        (HeldOut::Folder, None) => Err(Error::set(
            dir,
            "no pictures are held out to validate on: put them in a folder val beside train, or give `val_split`, such as 0.1",
        )),
        (HeldOut::Split { .. }, Some(val)) => Err(Error::set(
            &val,
            format!(
                "this folder holds pictures to validate on, and `val_split` was given too: leave it out, or name {} as the set",
                root.display()
            ),
        )),
        (HeldOut::Folder, Some(val)) => {
            let (classes, found) = classes(&root)?;
            let validation = validation(&val, &classes)?;
            if validation.items.is_empty() {
                return Err(Error::set(
                    &val,
                    "no class has a picture here: put pictures to validate on in it, or remove it",
                ));
            }
            let broken = found.broken.into_iter().chain(validation.broken).collect();
            let others = found.others + validation.others;
            Ok(Folder { classes, train: found.items, held_out: validation.items, broken, others })
        }
        (HeldOut::Split { fraction, seed }, None) => {
            let (classes, found) = classes(&root)?;
            let (train, held_out) = split::split(found.items, &root, fraction, seed);
            if held_out.is_empty() {
                let problem = format!(
                    "a validation split of {fraction} of {} pictures in {} classes holds out none: ask for more",
                    train.len(),
                    classes.len()
                );
                return Err(Error::set(&root, problem));
            }
            Ok(Folder { classes, train, held_out, broken: found.broken, others: found.others })
        }
    }
}

/// The classes of a training folder with their pictures.
fn classes(root: &Path) -> Result<(Vec<String>, Walked)> {
    let classes = walk::folders(root)?;
    if classes.is_empty() {
        return Err(Error::set(
            root,
            "this folder holds no folder: one is expected for each class, with its pictures in it",
        ));
    }
    if classes.len() > MAX_CLASSES {
        let problem =
            format!("this folder holds {} classes, more than the {MAX_CLASSES} that are known apart", classes.len());
        return Err(Error::set(root, problem));
    }
    let mut by_lower_case = HashMap::new();
    for name in &classes {
        if let Some(other) = by_lower_case.insert(name.to_lowercase(), name) {
            let problem = format!(
                "the classes {other:?} and {name:?} differ only by case, which not every system tells apart: rename one"
            );
            return Err(Error::set(root, problem));
        }
    }
    let mut all = Walked::default();
    for (class, name) in (0..).zip(&classes) {
        let folder = root.join(name);
        let found = walk::walk(&folder, class)?;
        if found.items.is_empty() {
            let what = match found.broken.first() {
                Some(broken) => format!("nothing in it can be read ({broken})"),
                None => format!("no file in it ends in {}", walk::KINDS.map(|kind| format!(".{kind}")).join(", ")),
            };
            return Err(Error::set(
                &folder,
                format!("this class has no pictures: {what}; put some in it or remove the folder"),
            ));
        }
        all.append(found);
    }
    Ok((classes, all))
}

/// The pictures held out in a folder of their own, by the classes trained on.
fn validation(root: &Path, classes: &[String]) -> Result<Walked> {
    let mut all = Walked::default();
    for name in walk::folders(root)? {
        let folder = root.join(&name);
        let Ok(class) = classes.binary_search(&name) else {
            let problem =
                format!("the class {name:?} is held out and never trained on: rename it as in train, or remove it");
            return Err(Error::set(&folder, problem));
        };
        let class = u16::try_from(class).expect("the classes were counted");
        all.append(walk::walk(&folder, class)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
