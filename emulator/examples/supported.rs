//! Prints every instruction form that the decoder accepts; with files, reads each and says what it found.

use rewind_emulator::ptx::{Module, supported};

fn main() {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().is_none() {
        print!("{}", supported());
    }
    for path in arguments {
        let found = match std::fs::read(&path) {
            Ok(image) => match Module::from_bytes(&image) {
                Ok(module) => format!("{} kernels", module.entries().count()),
                Err(e) => e.to_string(),
            },
            Err(e) => e.to_string(),
        };
        println!("{}: {found}", path.display());
    }
}
