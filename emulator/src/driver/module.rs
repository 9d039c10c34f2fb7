//! Modules from PTX.

use std::collections::HashMap;
use std::sync::Arc;

use super::code::{Code, Result};
use super::export::say;
use super::foreign::Image;
use super::settings;
use super::state::{Driver, Find, Handle, in_context};
use crate::exec::{Kernel, Loaded};
use crate::machine::LoadError;
use crate::ptx::parser::NEWEST;

/// A loaded module.
#[derive(Debug)]
pub struct Module {
    pub context: Handle,
    loaded: Loaded,
    /// Handles given out, by name: asking twice gives the same.
    functions: HashMap<String, Handle>,
}

/// A kernel as a caller holds it.
#[derive(Debug)]
pub struct Function {
    pub context: Handle,
    pub module: Handle,
    pub kernel: Arc<Kernel>,
    /// The most dynamic shared memory that a launch may ask, if it was set.
    pub max_dynamic: Option<u32>,
    /// Preferred share of shared memory in percent, -1 for none: remembered, without effect.
    pub carveout: i32,
    /// Whether its user was told that it may need too many registers.
    pub warned: bool,
    /// The name for `cuFuncGetName`, nul-terminated.
    pub name: Arc<std::ffi::CStr>,
}

/// Why a module is refused.
struct Refusal(Code, String);

/// What a module says of itself first.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    version: (u32, u32),
    /// 90 for `sm_90`, and the letter behind it.
    target: u32,
    suffix: Option<char>,
}

/// Reads `.version` and `.target` ahead of the parser: whether a module suits the device is asked first.
fn header(text: &str) -> Option<Header> {
    let plain = without_comments(text);
    let mut words = plain.split_whitespace();
    let version = words.by_ref().skip_while(|w| *w != ".version").nth(1)?;
    let (major, minor) = version.split_once('.')?;
    let target = words.skip_while(|w| *w != ".target").nth(1)?.split(',').next()?.strip_prefix("sm_")?;
    let suffix = target.chars().last().filter(char::is_ascii_alphabetic);
    let number = target.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    Some(Header { version: (major.parse().ok()?, minor.parse().ok()?), target: number.parse().ok()?, suffix })
}

/// The text up to its first function, comments blanked out.
fn without_comments(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        plain += &rest[..at];
        rest = &rest[at..];
        let end = match rest.as_bytes().get(1) {
            Some(b'/') => rest.find('\n').unwrap_or(rest.len()),
            Some(b'*') => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ => 1,
        };
        plain.push(' ');
        rest = &rest[end..];
        if plain.contains('{') {
            return plain;
        }
    }
    plain + rest
}

impl Driver {
    fn load(&mut self, context: Handle, image: Image<'_>) -> std::result::Result<Handle, Refusal> {
        let text = match image {
            Image::Text(text) => text,
            Image::Binary => {
                let what = "machine code cannot be emulated; PTX can";
                return Err(Refusal(Code::NO_BINARY_FOR_GPU, what.into()));
            }
        };
        if let Some(Header { version, target, suffix }) = std::str::from_utf8(text).ok().and_then(header) {
            let posed =
                settings::newest_ptx().map_err(|code| Refusal(code, "REWIND_EMULATOR_DRIVER means nothing".into()))?;
            let newest = posed.map_or(NEWEST, |posed| posed.min(NEWEST));
            if version > newest {
                let what = format!("PTX version {}.{} is newer than {}.{}", version.0, version.1, newest.0, newest.1);
                return Err(Refusal(Code::UNSUPPORTED_PTX_VERSION, what));
            }
            let (major, minor) = self.machine.profile.compute_capability;
            let own = 10 * major + minor;
            // Code for `a` targets runs on that very architecture; as drivers do, INVALID_PTX says that it is too new.
            if target > own || (suffix == Some('a') && target != own) {
                let suffix = suffix.map(String::from).unwrap_or_default();
                let what = format!("the module is for sm_{target}{suffix} and the device is sm_{own}");
                return Err(Refusal(Code::INVALID_PTX, what));
            }
        }
        let loaded = self.machine.load(text).map_err(|e| {
            let code = match &e {
                LoadError::Ptx(_) | LoadError::Refused { .. } => Code::INVALID_PTX,
                LoadError::Memory(_) => Code::OUT_OF_MEMORY,
            };
            Refusal(code, e.to_string())
        })?;
        self.statistics.modules += 1;
        let handle = self.handle();
        self.modules.insert(handle, Module { context, loaded, functions: HashMap::new() });
        Ok(handle)
    }

    /// Loads, telling the user on stderr what is wrong.
    fn load_or_say(&mut self, call: &str, context: Handle, image: Image<'_>) -> Result<Handle> {
        self.load_with_log(call, context, image).map_err(|Refusal(code, _)| code)
    }

    fn load_with_log(&mut self, call: &str, context: Handle, image: Image<'_>) -> std::result::Result<Handle, Refusal> {
        self.refuse_unsafe(call).map_err(|code| Refusal(code, String::new()))?;
        self.load(context, image).inspect_err(|Refusal(_, what)| say(call, what))
    }

    /// Unloads a module with its variables and functions.
    pub fn unload(&mut self, module: Handle) -> Result<()> {
        let old = self.modules.take(module)?;
        self.machine.unload(&old.loaded);
        self.functions.retain(|_, f| f.module != module);
        Ok(())
    }

    /// A kernel's handle.
    pub fn function(&mut self, module: Handle, name: &str) -> Result<Handle> {
        let found = self.modules.find(module)?;
        if let Some(&handle) = found.functions.get(name) {
            return Ok(handle);
        }
        let kernel = found.loaded.kernels.get(name).ok_or(Code::NOT_FOUND)?.clone();
        let context = found.context;
        let handle = self.handle();
        let c_name = std::ffi::CString::new(name).map_err(|_| Code::INVALID_VALUE)?;
        let function =
            Function { context, module, kernel, max_dynamic: None, carveout: -1, warned: false, name: c_name.into() };
        self.functions.insert(handle, function);
        self.modules.find_mut(module)?.functions.insert(name.into(), handle);
        Ok(handle)
    }

    /// A variable's address and size.
    pub fn variable(&self, module: Handle, name: &str) -> Result<(u64, u64)> {
        self.modules.find(module)?.loaded.variables.get(name).copied().ok_or(Code::NOT_FOUND)
    }

    /// Loads a module for the JIT options of `cuModuleLoadDataEx`: the logs among them are filled, the rest is heeded by
    /// compilers alone.
    pub fn load_with_options(&mut self, call: &str, context: Handle, image: Host, options: &Options) -> Result<Handle> {
        const INFO: (u32, u32) = (3, 4);
        const ERROR: (u32, u32) = (5, 6);
        let result = self.load_with_log(call, context, image.image()?);
        options.log(INFO, "")?;
        options.log(ERROR, result.as_ref().err().map_or("", |Refusal(_, what)| what))?;
        result.map_err(|Refusal(code, _)| code)
    }
}

/// The options of a load: numbers, and values that are pointers or integers of a pointer's size.
pub struct Options {
    pub count: usize,
    pub numbers: In<u32>,
    pub values: Out<usize>,
}

impl Options {
    fn place(&self, number: u32) -> Result<Option<usize>> {
        for place in 0..self.count {
            if self.numbers.at(place)? == number {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Fills a log whose buffer and size are these options, and puts the bytes written where the size was.
    fn log(&self, (buffer, size): (u32, u32), text: &str) -> Result<()> {
        let (Some(buffer), Some(size)) = (self.place(buffer)?, self.place(size)?) else { return Ok(()) };
        // The size is an `unsigned int` in the pointer's low half.
        let room = self.values.current_at(size)? as u32 as usize;
        let buffer = Host(self.values.current_at(buffer)?);
        let mut written = 0;
        if room > 0 && buffer.0 != 0 {
            written = text.len().min(room - 1);
            let target = buffer.target(room)?;
            target[..written].copy_from_slice(&text.as_bytes()[..written]);
            target[written] = 0;
        }
        self.values.at(size, written)
    }
}

exports! {
    fn cuModuleLoadData(out: Out<Handle>, image: Host) {
        in_context(|d, context| out.put(d.load_or_say("cuModuleLoadData", context, image.image()?)?))
    }
    fn cuModuleLoadDataEx(out: Out<Handle>, image: Host, count: u32, numbers: In<u32>, values: Out<usize>) {
        let options = Options { count: count as usize, numbers, values };
        in_context(|d, context| out.put(d.load_with_options("cuModuleLoadDataEx", context, image, &options)?))
    }
    fn cuModuleLoadFatBinary(out: Out<Handle>, image: Host) {
        in_context(|d, context| out.put(d.load_or_say("cuModuleLoadFatBinary", context, image.image()?)?))
    }
    fn cuModuleLoad(out: Out<Handle>, path: Text) {
        let bytes = std::fs::read(path.get()?).map_err(|e| {
            say("cuModuleLoad", e);
            Code::FILE_NOT_FOUND
        })?;
        let binary = bytes.starts_with(b"\x7fELF") || bytes.starts_with(&0xba55_ed50_u32.to_le_bytes());
        let text = bytes.split(|&b| b == 0).next().unwrap_or_default();
        let image = if binary { Image::Binary } else { Image::Text(text) };
        in_context(|d, context| out.put(d.load_or_say("cuModuleLoad", context, image)?))
    }
    fn cuModuleUnload(module: Handle) {
        in_context(|d, _| d.unload(module))
    }
    fn cuModuleGetFunction(out: Out<Handle>, module: Handle, name: Text) {
        in_context(|d, _| out.put(d.function(module, name.get()?)?))
    }
    fn cuModuleGetFunctionCount(out: Out<u32>, module: Handle) {
        in_context(|d, _| out.put(d.modules.find(module)?.loaded.kernels.len() as u32))
    }
    fn cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<usize>, module: Handle, name: Text) {
        in_context(|d, _| {
            let (base, size) = d.variable(module, name.get()?)?;
            address.offer(base);
            bytes.offer(size as usize);
            Ok(())
        })
    }
    fn cuModuleGetLoadingMode(out: Out<u32>) {
        // CU_MODULE_EAGER_LOADING
        out.put(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_past_comments() {
        let text = "// .version 1.0\n/* .target sm_10 */ .version 8.7\n.target sm_90a, debug\n.address_size 64";
        assert_eq!(header(text), Some(Header { version: (8, 7), target: 90, suffix: Some('a') }));
        assert_eq!(header(".version 9.0 .target sm_80"), Some(Header { version: (9, 0), target: 80, suffix: None }));
        assert_eq!(header(".version nine"), None);
        assert_eq!(header("a / b /* open"), None);
    }
}
