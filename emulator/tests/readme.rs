//! The README's list of instructions is the decoder's.

#[test]
fn the_readme_lists_what_the_decoder_accepts() {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("```text instructions\n").expect("the README has the list");
    let (list, _) = rest.split_once("```\n").expect("the list ends");
    let same = list == rewind_emulator::ptx::supported();
    assert!(same, "write it anew: cargo run -p rewind-emulator --example supported -- --readme");
}
