//! The driver's failures as the library's errors.

use cudarc::driver::DriverError;

use crate::error::Error;

/// A call of the driver failed while doing `what`.
pub fn driver(what: &'static str, error: DriverError) -> Error {
    Error::Device { what, reason: explain(error) }
}

/// Device memory that cannot be had.
pub fn reserve(len: usize, error: DriverError) -> Error {
    if error.0 == cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        Error::OutOfMemory { bytes: (len * size_of::<f32>()) as u64 }
    } else {
        driver("reserving memory", error)
    }
}

/// The library that the toolkit has in place of a driver answers every call with this, cuGetErrorName too.
const STUB: &str = "the libcuda that was found is the CUDA toolkit's stub, which programs are linked against and which runs nothing: \
                    take its folder out of LD_LIBRARY_PATH, and install an NVIDIA driver if there is none";

/// The driver's name for an error, and its sentence.
pub fn explain(error: DriverError) -> String {
    if error.0 == cudarc::driver::sys::CUresult::CUDA_ERROR_STUB_LIBRARY {
        return STUB.to_string();
    }
    let name = error.error_name().map(|s| s.to_string_lossy().into_owned());
    let text = error.error_string().map(|s| s.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{name}: {text}"),
        _ => format!("error {}", error.0 as u32),
    }
}
