//! Loads the emulator into this process as the CUDA driver, and talks to it.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::Library;
use serde::de::DeserializeOwned;

use crate::counters::LaunchCounts;
use crate::driver::Statistics;
use crate::fault::Fault;
use crate::machine::Options;
use crate::profile::Profile;

const FILE: &str = "librewind_emulator.so";
const VARIABLE: &str = "REWIND_EMULATOR_LIB";

/// Why the emulator cannot be installed or reached.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No library to open.
    #[error(
        "no {FILE} beside the executable or in its parents' `deps` folders; make the emulator a dependency of the test, \
         or name the file in {VARIABLE}"
    )]
    NotFound,
    /// It does not open, or lacks an export.
    #[error(transparent)]
    Library(#[from] libloading::Error),
    /// Another driver was opened first: install before any other CUDA call.
    #[error("{0} is open already, and is not the emulator; install it before the first CUDA call")]
    OtherDriver(&'static str),
    /// A call of the emulator's own failed.
    #[error("{call} gave error {code}")]
    Call {
        /// The call.
        call: &'static str,
        /// A `CUresult`.
        code: u32,
    },
    /// An answer that is not what this version expects: the library is of another build.
    #[error("{FILE} is not of this build: {0}")]
    Answer(#[from] serde_json::Error),
    /// This system has no libraries of that kind.
    #[error("the emulator can be installed on Linux only")]
    System,
}

/// The installed emulator.
#[derive(Debug, Clone, Copy)]
pub struct Emulator {
    library: &'static Library,
}

/// Makes the emulator this process's `libcuda.so`: opened before the first CUDA call, it is what later attempts to open a
/// library of that name get. Calling it again is harmless.
///
/// The library is looked for beside the executable, in its parent folders and in their `deps`, which is where cargo leaves it
/// when the emulator is a dependency; the variable `REWIND_EMULATOR_LIB` names another file.
///
/// How it runs is taken from the environment, unless [`Emulator::set_options`] says otherwise: `REWIND_EMULATOR_GPU`
/// (a profile: `h100-sxm`, `a100-sxm`, `rtx-4090`, `rtx-5090`, `t4`), `REWIND_EMULATOR_CHECKS` and
/// `REWIND_EMULATOR_COUNTERS` (0 or 1, both on from the start), `REWIND_EMULATOR_SHUFFLE` (a seed for the order of warps and
/// blocks), `REWIND_EMULATOR_THREADS`, `REWIND_EMULATOR_PTXAS` (a file with what `ptxas -v` printed).
///
/// # Errors
/// [`InstallError`]
pub fn install() -> Result<Emulator, InstallError> {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    if let Some(library) = LIBRARY.get() {
        return Ok(Emulator { library });
    }
    let path = find().ok_or(InstallError::NotFound)?;
    let opened = open(&path)?;
    // Two threads may come here at once; the second's handle is one more reference to the same library.
    let library = LIBRARY.get_or_init(|| opened);
    Ok(Emulator { library })
}

fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Some(named.into());
    }
    let executable = std::env::current_exe().ok()?;
    let folders = executable.ancestors().skip(1);
    // Not up to the root: a stray file far from the build is no help. `deps` first: cargo renews it with every build of a
    // test, and the copy beside it with builds of the library alone.
    let places = folders.take(4).flat_map(|folder| [folder.join("deps").join(FILE), folder.join(FILE)]);
    places.into_iter().find(|path| path.is_file())
}

#[cfg(target_os = "linux")]
fn open(path: &Path) -> Result<Library, InstallError> {
    use std::ffi::OsStr;

    use libloading::os::unix;

    // As glibc defines it; "do not load" finds what is open already.
    const RTLD_NOLOAD: i32 = 4;
    const OWN: &[u8] = b"rewind_emulator_set_gpu\0";

    let already = |name: &'static str| {
        #[allow(unsafe_code)]
        // SAFETY: nothing is loaded, so nothing runs.
        unsafe {
            unix::Library::open(Some(OsStr::new(name)), RTLD_NOLOAD | unix::RTLD_NOW)
        }
    };
    let is_ours = |library: &unix::Library| {
        #[allow(unsafe_code)]
        // SAFETY: the address is asked for and not used.
        unsafe {
            library.get::<*const ()>(OWN).is_ok()
        }
    };
    for name in ["libcuda.so", "libcuda.so.1"] {
        if already(name).is_ok_and(|library| !is_ours(&library)) {
            return Err(InstallError::OtherDriver(name));
        }
    }
    #[allow(unsafe_code)]
    // SAFETY: the library is this crate, whose loading runs nothing but the standard library's own start.
    let library = unsafe { unix::Library::open(Some(path), unix::RTLD_NOW | unix::RTLD_LOCAL) }?;
    match already("libcuda.so") {
        Ok(found) if is_ours(&found) => Ok(library.into()),
        Ok(_) => Err(InstallError::OtherDriver("libcuda.so")),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn open(_path: &Path) -> Result<Library, InstallError> {
    Err(InstallError::System)
}

type Ask = extern "C" fn(*mut u8, usize, *mut usize, u32) -> u32;
type Tell = extern "C" fn(*const std::ffi::c_char) -> u32;
type ParamInfo = extern "C" fn(usize, usize, *mut usize, *mut usize) -> u32;

impl Emulator {
    fn symbol<T: Copy>(&self, call: &'static str) -> Result<T, InstallError> {
        #[allow(unsafe_code)]
        // SAFETY: callers of this function ask for `Ask`, `Tell` or `ParamInfo`, as the exports of that name are declared.
        Ok(unsafe { *self.library.get::<T>(call)? })
    }

    /// An answer of the library as text.
    fn text(&self, call: &'static str, take: bool) -> Result<String, InstallError> {
        let ask: Ask = self.symbol(call)?;
        let mut buffer = Vec::new();
        loop {
            let mut length = 0;
            match ask(buffer.as_mut_ptr(), buffer.len(), &mut length, take.into()) {
                0 if length <= buffer.len() => {
                    buffer.truncate(length);
                    return Ok(String::from_utf8_lossy(&buffer).into_owned());
                }
                // Another thread may make it longer still: then once more.
                0 => buffer.resize(length, 0),
                code => return Err(InstallError::Call { call, code }),
            }
        }
    }

    fn value<T: DeserializeOwned>(&self, call: &'static str, take: bool) -> Result<T, InstallError> {
        Ok(serde_json::from_str(&self.text(call, take)?)?)
    }

    fn tell(&self, call: &'static str, text: &str) -> Result<(), InstallError> {
        const INVALID_VALUE: u32 = 1;
        let tell: Tell = self.symbol(call)?;
        let text = CString::new(text).map_err(|_| InstallError::Call { call, code: INVALID_VALUE })?;
        match tell(text.as_ptr()) {
            0 => Ok(()),
            code => Err(InstallError::Call { call, code }),
        }
    }

    /// Chooses the GPU to pose as. Only before `cuInit`, which cudarc calls with the first context.
    ///
    /// # Errors
    /// Another GPU was seen already.
    pub fn set_gpu(&self, profile: &Profile) -> Result<(), InstallError> {
        self.tell("rewind_emulator_set_gpu", profile.name)
    }

    /// How it runs.
    ///
    /// # Errors
    /// [`InstallError::Call`] if the environment's settings mean nothing.
    pub fn options(&self) -> Result<Options, InstallError> {
        self.value("rewind_emulator_options", false)
    }

    /// Changes how it runs from now on. Reads of unwritten memory are seen in memory that was allocated under checks.
    ///
    /// # Errors
    /// [`InstallError`]
    pub fn set_options(&self, options: &Options) -> Result<(), InstallError> {
        self.tell("rewind_emulator_set_options", &serde_json::to_string(options)?)
    }

    /// The faults so far, the first thousand of them.
    ///
    /// # Errors
    /// [`InstallError::Call`] before `cuInit`; so with all that follows.
    pub fn faults(&self) -> Result<Vec<Fault>, InstallError> {
        self.value("rewind_emulator_faults", false)
    }

    /// The faults so far, which it then forgets. The contexts they spoiled stay spoiled until reset or destroyed.
    ///
    /// # Errors
    /// As [`Emulator::faults`].
    pub fn take_faults(&self) -> Result<Vec<Fault>, InstallError> {
        self.value("rewind_emulator_faults", true)
    }

    /// The counts of every launch since the last reset, as JSON: an array of [`LaunchCounts`].
    ///
    /// # Errors
    /// As [`Emulator::faults`].
    pub fn counters_json(&self) -> Result<String, InstallError> {
        self.text("rewind_emulator_counters", false)
    }

    /// The counts of every launch since the last reset.
    ///
    /// # Errors
    /// As [`Emulator::faults`].
    pub fn launches(&self) -> Result<Vec<LaunchCounts>, InstallError> {
        self.value("rewind_emulator_counters", false)
    }

    /// Forgets the counts of launches.
    ///
    /// # Errors
    /// As [`Emulator::faults`].
    pub fn reset_counters(&self) -> Result<(), InstallError> {
        self.text("rewind_emulator_counters", true).map(drop)
    }

    /// Sizes of a kernel's parameters in bytes, by its handle (a `CUfunction`) as an address.
    ///
    /// # Errors
    /// As [`Emulator::faults`], and [`InstallError::Call`] if there is no such kernel.
    pub fn parameter_bytes(&self, function: usize) -> Result<Vec<usize>, InstallError> {
        const CALL: &str = "cuFuncGetParamInfo";
        const INVALID_VALUE: u32 = 1;
        let info: ParamInfo = self.symbol(CALL)?;
        let mut all = Vec::new();
        loop {
            let (mut offset, mut bytes) = (0, 0);
            match info(function, all.len(), &mut offset, &mut bytes) {
                0 => all.push(bytes),
                // there is no further one
                INVALID_VALUE => return Ok(all),
                code => return Err(InstallError::Call { call: CALL, code }),
            }
        }
    }

    /// How often the driver was asked for what, since the start or the last reset.
    ///
    /// # Errors
    /// As [`Emulator::faults`].
    pub fn statistics(&self) -> Result<Statistics, InstallError> {
        self.value("rewind_emulator_statistics", false)
    }

    /// Starts the statistics again at zero.
    ///
    /// # Errors
    /// As [`Emulator::faults`].
    pub fn reset_statistics(&self) -> Result<(), InstallError> {
        self.text("rewind_emulator_statistics", true).map(drop)
    }

    /// What kernels have printed since the last call.
    ///
    /// # Errors
    /// As [`Emulator::faults`].
    pub fn printed(&self) -> Result<String, InstallError> {
        self.text("rewind_emulator_printed", true)
    }
}
