//! Prints every instruction form that the decoder accepts; with `--readme`, writes the list into the README; with files,
//! reads each and says what it found.

use std::path::Path;

use rewind_emulator::ptx::{Module, supported};

/// The lines around the list in the README.
const BEGIN: &str = "```text instructions\n";
const END: &str = "```\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().is_none() {
        print!("{}", supported());
    }
    for argument in arguments {
        if argument == "--readme" {
            write_readme()?;
            continue;
        }
        let found = match std::fs::read(&argument) {
            Ok(image) => match Module::from_bytes(&image) {
                Ok(module) => format!("{} kernels", module.entries().count()),
                Err(e) => e.to_string(),
            },
            Err(e) => e.to_string(),
        };
        println!("{}: {found}", argument.display());
    }
    Ok(())
}

fn write_readme() -> Result<(), Box<dyn std::error::Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path)?;
    let start = readme.find(BEGIN).ok_or("the README has no list of instructions")? + BEGIN.len();
    let end = start + readme[start..].find(END).ok_or("the README's list does not end")?;
    std::fs::write(path, format!("{}{}{}", &readme[..start], supported(), &readme[end..]))?;
    Ok(())
}
