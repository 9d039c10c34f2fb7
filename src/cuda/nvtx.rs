//! Named ranges on a profiler's time line (NVTX 3), without its headers or any library.
//!
//! A profiler that wants them sets `NVTX_INJECTION64_PATH` to a library of its own. We load it and call its
//! `InitializeInjectionNvtx2` with a function that hands out tables; through these it finds the places where we keep
//! pointers to push and pop, and puts its functions there. Without a profiler the pointers stay null and a range costs a
//! load and a comparison. Names and numbers as in NVTX 3's nvtxTypes.h.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A place where the profiler may put a function.
type Slot = AtomicPtr<c_void>;

/// Every slot of every module that a profiler may ask for; those that we never call are there to be written.
static SLOTS: [[Slot; MOST]; MODULES] = [const { [const { AtomicPtr::new(null_mut()) }; MOST] }; MODULES];

const MODULES: usize = 7;
const MOST: usize = 16;
/// Callback numbers of the modules CORE, CUDA, OPENCL, CUDART, CORE2 and SYNC, each one more than its last; 0 is no module.
const SIZES: [usize; MODULES] = [0, 16, 9, 15, 7, 16, 7];
const CORE: usize = 1;
const RANGE_PUSH_A: usize = 9;
const RANGE_POP: usize = 11;

type Push = unsafe extern "C" fn(*const c_char) -> c_int;
type Pop = unsafe extern "C" fn() -> c_int;

/// A module's table as a profiler walks it: a pointer to each slot, null for number 0 and behind the last.
struct Table([*const Slot; MOST + 1]);
// SAFETY: the pointers lead to statics of atomics.
unsafe impl Sync for Table {}
// SAFETY: as above.
unsafe impl Send for Table {}

fn tables() -> &'static [Table; MODULES] {
    static TABLES: OnceLock<[Table; MODULES]> = OnceLock::new();
    TABLES.get_or_init(|| {
        std::array::from_fn(|module| {
            let slot = |number| (1..SIZES[module]).contains(&number).then(|| &raw const SLOTS[module][number]);
            Table(std::array::from_fn(|number| slot(number).unwrap_or(std::ptr::null())))
        })
    })
}

/// The table of callbacks: a size and a function.
#[repr(C)]
struct Callbacks {
    bytes: usize,
    module_table: unsafe extern "C" fn(c_int, *mut *const *const Slot, *mut c_uint) -> c_int,
}

/// The table of versions.
#[repr(C)]
struct Versions {
    bytes: usize,
    version: u32,
    reserved: u32,
    set_injection_version: extern "C" fn(u32),
}

static CALLBACKS: Callbacks = Callbacks { bytes: size_of::<Callbacks>(), module_table };
static VERSIONS: Versions =
    Versions { bytes: size_of::<Versions>(), version: 3, reserved: 0, set_injection_version: ignore };

extern "C" fn ignore(_version: u32) {}

unsafe extern "C" fn module_table(module: c_int, table: *mut *const *const Slot, size: *mut c_uint) -> c_int {
    let module = module as usize;
    if !(1..MODULES).contains(&module) {
        return 0;
    }
    // SAFETY: the profiler gives places for the answers, or null.
    unsafe {
        if !size.is_null() {
            *size = SIZES[module] as c_uint;
        }
        if !table.is_null() {
            *table = tables()[module].0.as_ptr();
        }
    }
    1
}

extern "C" fn export_table(id: u32) -> *const c_void {
    match id {
        1 => (&raw const CALLBACKS).cast(),
        3 => (&raw const VERSIONS).cast(),
        _ => std::ptr::null(),
    }
}

/// Loads the profiler's library, once; whether there is one.
fn attached() -> bool {
    static LIBRARY: OnceLock<Option<libloading::Library>> = OnceLock::new();
    LIBRARY.get_or_init(load).is_some()
}

fn load() -> Option<libloading::Library> {
    type Initialize = unsafe extern "C" fn(extern "C" fn(u32) -> *const c_void) -> c_int;
    let path = std::env::var_os("NVTX_INJECTION64_PATH").filter(|path| !path.is_empty())?;
    // SAFETY: whoever set the variable wants that library in this process, and it starts as NVTX's protocol says.
    unsafe {
        let library = libloading::Library::new(path).ok()?;
        let initialize = library.get::<Initialize>(c"InitializeInjectionNvtx2").ok()?;
        (initialize(export_table) != 0).then_some(library)
    }
}

/// A range of this thread that ends when it is dropped.
pub struct Range(PhantomData<*const ()>);

impl Range {
    /// Starts a range.
    pub fn start(name: &str) -> Range {
        if attached() {
            let push = SLOTS[CORE][RANGE_PUSH_A].load(Ordering::Relaxed);
            if let (false, Ok(name)) = (push.is_null(), CString::new(name)) {
                // SAFETY: what a profiler puts there is nvtxRangePushA; the name lives through the call.
                unsafe { std::mem::transmute::<*mut c_void, Push>(push)(name.as_ptr()) };
            }
        }
        Range(PhantomData)
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        let pop = SLOTS[CORE][RANGE_POP].load(Ordering::Relaxed);
        if !pop.is_null() {
            // SAFETY: what a profiler puts there is nvtxRangePop.
            unsafe { std::mem::transmute::<*mut c_void, Pop>(pop)() };
        }
    }
}
