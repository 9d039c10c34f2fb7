//! The files below one folder of a class.

use std::fs;
use std::path::Path;

use walkdir::WalkDir;

use super::Item;
use crate::error::{Broken, Error, Result};
use crate::regular;

/// Endings of the files that are taken for pictures.
pub(super) const KINDS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "bmp", "gif"];
/// Endings that torchvision takes for pictures too and that are not read here.
const UNREAD: [&str; 4] = ["tif", "tiff", "ppm", "pgm"];

#[derive(Default)]
pub(super) struct Walked {
    pub items: Vec<Item>,
    pub broken: Vec<Broken>,
    pub others: usize,
}

impl Walked {
    pub fn append(&mut self, mut other: Self) {
        self.items.append(&mut other.items);
        self.broken.append(&mut other.broken);
        self.others += other.others;
    }
}

/// Names of the folders in `root`, links to folders too, sorted as Python sorts them: by code points. Those that begin with a
/// dot are programs' own.
pub(super) fn folders(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(Error::io("read", root))? {
        let entry = entry.map_err(Error::io("read", root))?;
        // a link to nothing is no folder
        if !entry.path().is_dir() || entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        names.push(entry.file_name().into_string().map_err(|_| {
            Error::set(
                &entry.path(),
                "the name of this class is not UTF-8, and results are written by it: rename the folder",
            )
        })?);
    }
    names.sort();
    Ok(names)
}

/// The pictures below `folder`: sorted by the folder they lie in, then by name, as torchvision does.
pub(super) fn walk(folder: &Path, class: u16) -> Result<Walked> {
    let mut found = Walked::default();
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                let path = e.path().unwrap_or(folder).to_path_buf();
                if let Some(around) = e.loop_ancestor() {
                    let problem = format!("this link leads back to {}, which it lies in: remove it", around.display());
                    return Err(Error::set(&path, problem));
                }
                let source = e.into_io_error().unwrap_or_else(|| std::io::Error::other("the system says nothing more"));
                if source.kind() == std::io::ErrorKind::NotFound && path.is_symlink() {
                    match ends_in(&path, &KINDS) || ends_in(&path, &UNREAD) {
                        true => {
                            found.broken.push(Broken { path, reason: "is a link to a file that is not there".into() })
                        }
                        false => found.others += 1,
                    }
                    continue;
                }
                return Err(Error::io("read", &path)(source));
            }
        };
        if entry.file_type().is_dir() {
            continue;
        }
        let path = entry.path();
        if ends_in(path, &UNREAD) {
            let reason = "is of a kind that is not read here: convert it to JPEG or PNG".into();
            found.broken.push(Broken { path: path.into(), reason });
        } else if !ends_in(path, &KINDS) {
            found.others += 1;
        } else if let Some(reason) = regular::other_than_file(entry.file_type()) {
            found.broken.push(Broken { path: path.into(), reason });
        } else {
            let metadata = entry.metadata().map_err(|e| Error::io("look into", path)(e.into()))?;
            let modified = metadata.modified().ok();
            found.items.push(Item { path: path.into(), class, bytes: metadata.len(), modified });
        }
    }
    // as text and not part by part: "a b/" comes before "a/", as a space before a slash
    found.items.sort_by(|a, b| {
        let key = |item: &Item| {
            (item.path.parent().map(|p| p.as_os_str().to_owned()), item.path.file_name().map(|n| n.to_owned()))
        };
        key(a).cmp(&key(b))
    });
    Ok(found)
}

fn ends_in(path: &Path, kinds: &[&str]) -> bool {
    let name = path.file_name().map(|name| name.as_encoded_bytes().to_ascii_lowercase()).unwrap_or_default();
    // ".jpg" alone is a picture to torchvision, while `Path::extension` finds none
    kinds.iter().any(|kind| name.strip_suffix(kind.as_bytes()).is_some_and(|stem| stem.ends_with(b".")))
}
