//! Checkpoints that say what no run would save, with a checksum that is right: what a person with a grudge, or a bug, could leave.

use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Where the 64 digits of the checksum are.
const CHECKSUM_AT: usize = 8 + "{\"__metadata__\":{\"checksum\":\"".len();

/// Rewrites the checkpoint at `path` with a changed header and changed values, which `change` is shown tensor by tensor with its name.
fn rewrite(path: &Path, header: impl FnOnce(&mut Value), mut change: impl FnMut(&str, &mut [f32])) {
    let bytes = fs::read(path).expect("a checkpoint");
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("8 bytes")) as usize;
    let mut held: Value = serde_json::from_slice(&rest[..length]).expect("a header");
    let mut data = rest[length..].to_vec();
    for (name, tensor) in held.as_object().expect("an object").iter().filter(|(name, _)| *name != "__metadata__") {
        let [start, end] = [0, 1].map(|k| tensor["data_offsets"][k].as_u64().expect("an offset") as usize);
        let mut values: Vec<f32> = bytemuck::pod_collect_to_vec(&data[start..end]);
        change(name, &mut values);
        data[start..end].copy_from_slice(bytemuck::cast_slice(&values));
    }
    header(&mut held);
    held["__metadata__"]["checksum"] = "0".repeat(64).into();
    let mut text = held.to_string();
    text += &" ".repeat(text.len().next_multiple_of(8) - text.len());
    let mut file = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &data].concat();
    let digits: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    file[CHECKSUM_AT..][..64].copy_from_slice(digits.as_bytes());
    fs::write(path, file).expect("written");
}

/// With other values in its tensors.
pub fn values(path: &Path, change: impl FnMut(&str, &mut [f32])) {
    rewrite(path, |_| {}, change);
}

/// With another text under `key` of its metadata.
fn metadata(path: &Path, key: &str, change: impl FnOnce(String) -> String) {
    let header = |header: &mut Value| {
        let entry = &mut header["__metadata__"][key];
        let changed = change(entry.as_str().expect("text").to_string());
        *entry = changed.into();
    };
    rewrite(path, header, |_, _| {});
}

/// With `from` in its config as `to`.
pub fn config(path: &Path, from: &str, to: &str) {
    metadata(path, "config", |text| {
        assert!(text.contains(from), "no {from} in {text}");
        text.replace(from, to)
    });
}

/// With another value at `pointer`, such as `/sums/steps`, of its progress.
pub fn progress(path: &Path, pointer: &str, value: Value) {
    metadata(path, "progress", |text| {
        let mut progress: Value = serde_json::from_str(&text).expect("JSON");
        *progress.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer} in {text}")) = value;
        progress.to_string()
    });
}

/// Without a key of its metadata, as a version that did not know it wrote it.
pub fn without(path: &Path, key: &str) {
    let header = |header: &mut Value| {
        let removed = header["__metadata__"].as_object_mut().expect("an object").remove(key);
        assert!(removed.is_some(), "no {key} in it");
    };
    rewrite(path, header, |_, _| {});
}
