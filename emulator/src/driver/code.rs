//! The driver's error codes (`CUresult`), with names and sentences.

use std::ffi::CStr;

use crate::fault::FaultKind;

/// A `CUresult`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

/// What calls come to.
pub type Result<T> = std::result::Result<T, Code>;

/// A nul-terminated constant from text without zero bytes.
macro_rules! c {
    ($($text:expr),*) => {
        match CStr::from_bytes_with_nul(concat!($($text,)* "\0").as_bytes()) {
            Ok(text) => text,
            Err(_) => c"",
        }
    };
}

macro_rules! codes {
    ($($name:ident = $number:literal: $text:literal;)*) => {
        impl Code {
            // Callers ask about codes that this driver never gives.
            $(#[allow(dead_code)] pub const $name: Code = Code($number);)*

            const TEXTS: &[(u32, &CStr, &CStr)] = &[
                (0, c"CUDA_SUCCESS", c"no error"),
                $(($number, c!("CUDA_ERROR_", stringify!($name)), c!($text)),)*
            ];
        }
    };
}

codes! {
    INVALID_VALUE = 1: "invalid argument";
    OUT_OF_MEMORY = 2: "out of memory";
    NOT_INITIALIZED = 3: "initialization error";
    DEINITIALIZED = 4: "driver shutting down";
    PROFILER_DISABLED = 5: "profiler disabled";
    PROFILER_NOT_INITIALIZED = 6: "the profiler is not initialised";
    PROFILER_ALREADY_STARTED = 7: "the profiler has started";
    PROFILER_ALREADY_STOPPED = 8: "the profiler has stopped";
    STUB_LIBRARY = 34: "the library is a stub";
    CALL_REQUIRES_NEWER_DRIVER = 36: "the call needs a newer driver";
    DEVICE_UNAVAILABLE = 46: "the device is busy or unavailable";
    NO_DEVICE = 100: "no CUDA device";
    INVALID_DEVICE = 101: "invalid device ordinal";
    DEVICE_NOT_LICENSED = 102: "the device is not licensed";
    INVALID_IMAGE = 200: "the kernel image is invalid";
    INVALID_CONTEXT = 201: "invalid device context";
    CONTEXT_ALREADY_CURRENT = 202: "the context is current already";
    MAP_FAILED = 205: "mapping failed";
    UNMAP_FAILED = 206: "unmapping failed";
    ARRAY_IS_MAPPED = 207: "the array is mapped";
    ALREADY_MAPPED = 208: "the resource is mapped already";
    NO_BINARY_FOR_GPU = 209: "no kernel image for this device";
    ALREADY_ACQUIRED = 210: "the resource is acquired already";
    NOT_MAPPED = 211: "the resource is not mapped";
    NOT_MAPPED_AS_ARRAY = 212: "the resource is not mapped as an array";
    NOT_MAPPED_AS_POINTER = 213: "the resource is not mapped as a pointer";
    ECC_UNCORRECTABLE = 214: "an uncorrectable ECC error was encountered";
    UNSUPPORTED_LIMIT = 215: "the limit is not supported";
    CONTEXT_ALREADY_IN_USE = 216: "the context is in use by another thread";
    PEER_ACCESS_UNSUPPORTED = 217: "peer access is not supported between these devices";
    INVALID_PTX = 218: "a PTX JIT compilation failed";
    INVALID_GRAPHICS_CONTEXT = 219: "invalid graphics context";
    NVLINK_UNCORRECTABLE = 220: "an uncorrectable NVLink error was encountered";
    JIT_COMPILER_NOT_FOUND = 221: "the PTX JIT compiler was not found";
    UNSUPPORTED_PTX_VERSION = 222: "the PTX was made for a newer driver";
    JIT_COMPILATION_DISABLED = 223: "PTX JIT compilation is disabled";
    UNSUPPORTED_EXEC_AFFINITY = 224: "the execution affinity is not supported";
    UNSUPPORTED_DEVSIDE_SYNC = 225: "device-side synchronisation is not supported";
    CONTAINED = 226: "a contained error was encountered";
    INVALID_SOURCE = 300: "the kernel source is invalid";
    FILE_NOT_FOUND = 301: "file not found";
    SHARED_OBJECT_SYMBOL_NOT_FOUND = 302: "a symbol of a shared object was not found";
    SHARED_OBJECT_INIT_FAILED = 303: "a shared object failed to initialise";
    OPERATING_SYSTEM = 304: "an operating system call failed";
    INVALID_HANDLE = 400: "invalid resource handle";
    ILLEGAL_STATE = 401: "not in a state that allows this";
    LOSSY_QUERY = 402: "the query would lose information";
    NOT_FOUND = 500: "named symbol not found";
    NOT_READY = 600: "not ready";
    ILLEGAL_ADDRESS = 700: "an illegal memory access was encountered";
    LAUNCH_OUT_OF_RESOURCES = 701: "too many resources requested for launch";
    LAUNCH_TIMEOUT = 702: "the launch timed out and was terminated";
    LAUNCH_INCOMPATIBLE_TEXTURING = 703: "the launch uses an incompatible texturing mode";
    PEER_ACCESS_ALREADY_ENABLED = 704: "peer access is already enabled";
    PEER_ACCESS_NOT_ENABLED = 705: "peer access has not been enabled";
    PRIMARY_CONTEXT_ACTIVE = 708: "the primary context is in use";
    CONTEXT_IS_DESTROYED = 709: "the context is destroyed";
    ASSERT = 710: "a device-side assert was triggered";
    TOO_MANY_PEERS = 711: "no more peers can be accessed";
    HOST_MEMORY_ALREADY_REGISTERED = 712: "the host memory is already registered";
    HOST_MEMORY_NOT_REGISTERED = 713: "the host memory is not registered";
    HARDWARE_STACK_ERROR = 714: "a stack overflow or corruption was encountered";
    ILLEGAL_INSTRUCTION = 715: "an illegal instruction was encountered";
    MISALIGNED_ADDRESS = 716: "a misaligned address was encountered";
    INVALID_ADDRESS_SPACE = 717: "an operation in the wrong address space was encountered";
    INVALID_PC = 718: "an invalid program counter was encountered";
    LAUNCH_FAILED = 719: "unspecified launch failure";
    COOPERATIVE_LAUNCH_TOO_LARGE = 720: "too many blocks in a cooperative launch";
    TENSOR_MEMORY_LEAK = 721: "tensor memory was not freed";
    NOT_PERMITTED = 800: "the operation is not permitted";
    NOT_SUPPORTED = 801: "the operation is not supported";
    SYSTEM_NOT_READY = 802: "the system is not ready";
    SYSTEM_DRIVER_MISMATCH = 803: "driver versions do not match";
    COMPAT_NOT_SUPPORTED_ON_DEVICE = 804: "forward compatibility is not supported on this device";
    MPS_CONNECTION_FAILED = 805: "no connection to the MPS server";
    MPS_RPC_FAILURE = 806: "a call to the MPS server failed";
    MPS_SERVER_NOT_READY = 807: "the MPS server is not ready";
    MPS_MAX_CLIENTS_REACHED = 808: "too many clients of the MPS server";
    MPS_MAX_CONNECTIONS_REACHED = 809: "too many connections to the MPS server";
    MPS_CLIENT_TERMINATED = 810: "the MPS client was terminated";
    CDP_NOT_SUPPORTED = 811: "launches from the device are not supported";
    CDP_VERSION_MISMATCH = 812: "versions of launches from the device do not match";
    STREAM_CAPTURE_UNSUPPORTED = 900: "not permitted while a stream is capturing";
    STREAM_CAPTURE_INVALIDATED = 901: "the capture was invalidated by an earlier error";
    STREAM_CAPTURE_MERGE = 902: "would merge two independent captures";
    STREAM_CAPTURE_UNMATCHED = 903: "the capture did not begin in this stream";
    STREAM_CAPTURE_UNJOINED = 904: "the capture has work that was not joined to its first stream";
    STREAM_CAPTURE_ISOLATION = 905: "a dependency would cross the boundary of the capture";
    STREAM_CAPTURE_IMPLICIT = 906: "would make a capture depend on the legacy stream";
    CAPTURED_EVENT = 907: "not permitted on an event last recorded in a capturing stream";
    STREAM_CAPTURE_WRONG_THREAD = 908: "the capture began in another thread";
    TIMEOUT = 909: "a wait timed out";
    GRAPH_EXEC_UPDATE_FAILURE = 910: "the graph cannot be updated";
    EXTERNAL_DEVICE = 911: "an error occurred outside the device";
    INVALID_CLUSTER_SIZE = 912: "the cluster size is invalid";
    FUNCTION_NOT_LOADED = 913: "the function is not loaded";
    INVALID_RESOURCE_TYPE = 914: "invalid resource type";
    INVALID_RESOURCE_CONFIGURATION = 915: "invalid resource configuration";
    KEY_ROTATION = 916: "a key rotation failed";
    UNKNOWN = 999: "unknown error";
}

impl Code {
    fn entry(self) -> Option<&'static (u32, &'static CStr, &'static CStr)> {
        Self::TEXTS.iter().find(|(number, ..)| *number == self.0)
    }

    /// Its name, such as `CUDA_ERROR_INVALID_VALUE`.
    pub fn name(self) -> Option<&'static CStr> {
        self.entry().map(|(_, name, _)| *name)
    }

    /// A sentence about it.
    pub fn text(self) -> Option<&'static CStr> {
        self.entry().map(|(.., text)| *text)
    }
}

/// The code that the caller sees for a fault. What hardware notices gets the code hardware gives. What only the emulator
/// notices (races, unwritten bytes, barriers and the like) is a launch failure: hardware would go on with garbage or hang.
impl From<FaultKind> for Code {
    fn from(kind: FaultKind) -> Code {
        match kind {
            FaultKind::OutOfBounds | FaultKind::ReadOnly => Code::ILLEGAL_ADDRESS,
            FaultKind::Misaligned => Code::MISALIGNED_ADDRESS,
            FaultKind::Assert => Code::ASSERT,
            FaultKind::Unsupported => Code::ILLEGAL_INSTRUCTION,
            FaultKind::Stuck => Code::LAUNCH_TIMEOUT,
            FaultKind::Uninitialised
            | FaultKind::Race
            | FaultKind::Barrier
            | FaultKind::AsyncCopy
            | FaultKind::Shuffle
            | FaultKind::Convergence
            | FaultKind::Trap => Code::LAUNCH_FAILED,
        }
    }
}

exports! {
    fn cuGetErrorName(error: u32, out: Out<*const c_char>) {
        out.put(Code(error).name().map_or(std::ptr::null(), CStr::as_ptr))?;
        Code(error).name().map(drop).ok_or(Code::INVALID_VALUE)
    }
    fn cuGetErrorString(error: u32, out: Out<*const c_char>) {
        out.put(Code(error).text().map_or(std::ptr::null(), CStr::as_ptr))?;
        Code(error).text().map(drop).ok_or(Code::INVALID_VALUE)
    }
}
