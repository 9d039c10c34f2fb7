//! Launches: everything that can be wrong with one is found before a thread runs.

use super::code::{Code, Result};
use super::export::say;
use super::function::{max_threads, registers};
use super::module::Function;
use super::state::{Driver, Find, Handle, in_context};
use super::work::Work;
use crate::exec::{Kernel, Launch};
use crate::profile::{Limit, Profile, blocks_per_sm};

/// The arguments as the caller gave them: an array of pointers, or a buffer with all of them in place.
struct Arguments {
    pointers: In<Host>,
    extra: In<usize>,
}

impl Arguments {
    /// The parameter block.
    fn block(&self, kernel: &Kernel) -> Result<Vec<u8>> {
        let mut block = vec![0; kernel.parameter_bytes as usize];
        if !self.extra.is_null() {
            if !self.pointers.is_null() {
                return Err(Code::INVALID_VALUE);
            }
            let (buffer, bytes) = self.buffer()?;
            // Structs that mirror the block may end in padding.
            if bytes < block.len() || bytes > block.len().next_multiple_of(16) {
                say(
                    "cuLaunchKernel",
                    format_args!("{bytes} bytes of arguments, and {} takes {}", kernel.name, block.len()),
                );
                return Err(Code::INVALID_VALUE);
            }
            block.copy_from_slice(buffer.source(kernel.parameter_bytes as usize)?);
            return Ok(block);
        }
        for (place, parameter) in kernel.parameters.iter().enumerate() {
            let bytes = parameter.bytes as usize;
            let at = parameter.offset as usize;
            block[at..at + bytes].copy_from_slice(self.pointers.at(place)?.source(bytes)?);
        }
        Ok(block)
    }

    /// `CU_LAUNCH_PARAM_BUFFER_POINTER` and `_SIZE`, ended by `CU_LAUNCH_PARAM_END`.
    fn buffer(&self) -> Result<(Host, usize)> {
        let (mut buffer, mut bytes) = (None, None);
        // Each at most once, hence three words more than the two pairs is too long.
        for place in (0..5).step_by(2) {
            match self.extra.at(place)? {
                0 => return Ok((buffer.ok_or(Code::INVALID_VALUE)?, bytes.ok_or(Code::INVALID_VALUE)?)),
                1 => buffer = Some(Host(self.extra.at(place + 1)?)),
                2 => {
                    let size = Host(self.extra.at(place + 1)?).source(size_of::<usize>())?;
                    bytes = Some(usize::from_ne_bytes(size.try_into().map_err(|_| Code::INVALID_VALUE)?));
                }
                _ => break,
            }
        }
        Err(Code::INVALID_VALUE)
    }
}

/// What to warn of, or why a launch is refused: the code, and what the code does not say.
type Checked = std::result::Result<Option<String>, (Code, String)>;

fn refuse(code: Code, what: String) -> Checked {
    Err((code, what))
}

/// The launch against the device's limits and the kernel's own. Nothing is refused for registers that are but estimated.
fn check(profile: &Profile, function: &Function, launch: &Launch) -> Checked {
    let kernel = &*function.kernel;
    let Launch { grid, block, dynamic_shared, cooperative } = *launch;
    let within = |dim: [u32; 3], most: [u32; 3]| dim.iter().zip(most).all(|(&n, most)| n > 0 && n <= most);
    if !within(grid, profile.max_grid_dim) {
        return refuse(Code::INVALID_VALUE, format!("a grid of {grid:?} blocks, at most {:?}", profile.max_grid_dim));
    }
    let threads = block.iter().map(|&n| u64::from(n)).product::<u64>();
    if !within(block, profile.max_block_dim) || threads > profile.max_threads_per_block.into() {
        let what = format!("a block of {block:?} threads, at most {}", profile.max_threads_per_block);
        return refuse(Code::INVALID_VALUE, what);
    }
    let threads = threads as u32;
    if kernel.bounds.required_threads.is_some_and(|required| required != block) {
        let what = format!("a block of {block:?} threads, and .reqntid asks {:?}", kernel.bounds.required_threads);
        return refuse(Code::INVALID_VALUE, what);
    }
    let promised = kernel.bounds.max_threads.map(|most| most.iter().map(|&n| u64::from(n)).product::<u64>());
    if promised.is_some_and(|most| u64::from(threads) > most) {
        let what = format!("a block of {threads} threads, and .maxntid promises {:?}", kernel.bounds.max_threads);
        return refuse(Code::INVALID_VALUE, what);
    }
    if dynamic_shared > function.dynamic_limit(profile) {
        let limit = function.dynamic_limit(profile);
        let what =
            format!("{dynamic_shared} bytes of dynamic shared memory; the function may use {limit} (opt in for more)");
        return refuse(Code::INVALID_VALUE, what);
    }
    let shared = u64::from(kernel.static_shared) + u64::from(dynamic_shared);
    if shared > profile.shared_per_block_optin.into() {
        let what = format!("{shared} bytes of shared memory, at most {}", profile.shared_per_block_optin);
        return refuse(Code::INVALID_VALUE, what);
    }
    let registers = registers(kernel, profile);
    let fit = blocks_per_sm(profile, threads, registers, shared as u32);
    let sure = if kernel.registers_known { fit } else { blocks_per_sm(profile, threads, 0, shared as u32) };
    let too_many = || {
        let most = max_threads(kernel, profile);
        let about = if kernel.registers_known { "" } else { "about " };
        format!("{threads} threads of {about}{registers} registers, at most {most} such threads")
    };
    if sure.blocks == 0 {
        let what = match sure.limited_by {
            Limit::Registers => too_many(),
            _ => format!("no block fits a multiprocessor: {:?}", sure.limited_by),
        };
        return refuse(Code::LAUNCH_OUT_OF_RESOURCES, what);
    }
    if cooperative && profile.refuses_cooperation {
        return refuse(Code::COOPERATIVE_LAUNCH_TOO_LARGE, "REWIND_EMULATOR_COOPERATION is 0".into());
    }
    let blocks = grid.iter().map(|&n| u128::from(n)).product::<u128>();
    let resident = |blocks: u32| u128::from(blocks) * u128::from(profile.sm_count);
    let too_large = |blocks_at_once| format!("a cooperative grid of {blocks} blocks, and {blocks_at_once} fit at once");
    if cooperative && blocks > resident(sure.blocks) {
        return refuse(Code::COOPERATIVE_LAUNCH_TOO_LARGE, too_large(resident(sure.blocks)));
    }
    // The estimate may be wrong by half.
    if fit.blocks == 0 {
        return Ok(Some(too_many()));
    }
    Ok((cooperative && blocks > resident(fit.blocks))
        .then(|| format!("{}, if a thread takes about {registers} registers", too_large(resident(fit.blocks)))))
}

impl Driver {
    fn launch(&mut self, function: Handle, launch: Launch, stream: Handle, arguments: &Arguments) -> Result<()> {
        const CALL: &str = "cuLaunchKernel";
        let place = self.place(stream)?;
        let found = self.functions.find(function)?;
        if found.context != place.context() {
            return Err(Code::INVALID_HANDLE);
        }
        let kernel = found.kernel.clone();
        let warning = check(self.machine.profile, found, &launch).map_err(|(code, what)| {
            say(CALL, format_args!("{}: {what}", kernel.name));
            code
        })?;
        if let Some(what) = warning.filter(|_| !found.warned) {
            let hint = "the number is an estimate: REWIND_EMULATOR_PTXAS can name a file with what `ptxas -v` said";
            say(CALL, format_args!("a GPU may refuse {}: {what} ({hint})", kernel.name));
            self.functions.find_mut(function)?.warned = true;
        }
        let parameters = arguments.block(&kernel)?;
        self.submit(place, CALL, Work::Kernel { kernel, launch, parameters })
    }
}

/// `CUlaunchConfig`
#[repr(C)]
#[derive(Clone, Copy)]
struct Configuration {
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: u32,
    stream: Handle,
    attributes: usize,
    attribute_count: u32,
}

/// `CUlaunchAttribute`: a number, padding, and a union of 64 bytes.
type Attribute = [u32; 18];

impl Configuration {
    /// Whether the launch is cooperative. Hints are passed over; what would change the launch's meaning is refused.
    fn cooperative(&self) -> Result<bool> {
        let mut cooperative = false;
        for i in 0..self.attribute_count as usize {
            let bytes = Host(self.attributes).source((i + 1) * size_of::<Attribute>())?;
            let word = |at: usize| {
                let at = i * size_of::<Attribute>() + 4 * at;
                bytes[at..at + 4].try_into().map(u32::from_ne_bytes).map_err(|_| Code::INVALID_VALUE)
            };
            match word(0)? {
                2 => cooperative = word(2)? != 0,
                // A cluster of one block is none.
                4 | 11 if (word(2)?, word(3)?, word(4)?) == (1, 1, 1) => {}
                // Nothing, access policy, synchronisation policy, cluster scheduling, programmatic serialisation, priority,
                // memory synchronisation domains, carve-out.
                0 | 1 | 3 | 5 | 6 | 8 | 9 | 10 | 14 => {}
                _ => return Err(Code::NOT_SUPPORTED),
            }
        }
        Ok(cooperative)
    }
}

exports! {
    fn cuLaunchKernel(
        function: Handle, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, dynamic_shared: u32, stream: Handle,
        pointers: In<Host>, extra: In<usize>,
    ) {
        let launch = Launch { grid: [gx, gy, gz], block: [bx, by, bz], dynamic_shared, cooperative: false };
        in_context(|d, _| d.launch(function, launch, stream, &Arguments { pointers, extra }))
    }
    fn cuLaunchCooperativeKernel(
        function: Handle, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, dynamic_shared: u32, stream: Handle,
        pointers: In<Host>,
    ) {
        let launch = Launch { grid: [gx, gy, gz], block: [bx, by, bz], dynamic_shared, cooperative: true };
        let arguments = Arguments { pointers, extra: In::null() };
        in_context(|d, _| d.launch(function, launch, stream, &arguments))
    }
    fn cuLaunchKernelEx(configuration: In<Configuration>, function: Handle, pointers: In<Host>, extra: In<usize>) {
        let c = configuration.get()?;
        let cooperative = c.cooperative()?;
        let launch = Launch { grid: c.grid, block: c.block, dynamic_shared: c.dynamic_shared, cooperative };
        in_context(|d, _| d.launch(function, launch, c.stream, &Arguments { pointers, extra }))
    }
}
