//! The compiled kernels in this program: PTX, and machine code where it was built with an nvcc. Which of them a GPU gets,
//! and which driver they need.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaModule};
use cudarc::nvrtc::Ptx;

use super::error::{driver, explain};
use super::version::CudaVersion;
use crate::error::{Error, Result};

/// Compute capability: major and minor.
pub type Capability = (i32, i32);

/// The oldest GPU that the PTX is for.
pub const OLDEST: Capability = (8, 0);

/// One kernel file, compiled.
struct Embedded {
    file: &'static str,
    ptx: &'static str,
    cubins: &'static [(Capability, &'static [u8])],
}

mod listed {
    use super::Embedded;
    include!(concat!(env!("OUT_DIR"), "/images.rs"));
}
use listed::{EMBEDDED, TOOLKIT};
pub use listed::{ORIGIN, VERSION};

/// The form in which a GPU gets the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Machine code for this compute capability.
    Cubin(Capability),
    /// PTX, which the driver compiles when it is loaded for the first time and keeps.
    Ptx,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Form::Cubin((major, minor)) => write!(f, "machine code for sm_{major}{minor}"),
            Form::Ptx => write!(f, "PTX"),
        }
    }
}

/// The best form for a GPU and its driver: machine code runs on its own major version, from its own minor one up, by drivers of the
/// CUDA whose compiler made it, or of a newer one (CUDA Compatibility, "Minor Version Compatibility").
pub fn best_form(device: Capability, driver: CudaVersion) -> Form {
    let reads = TOOLKIT.is_none_or(|major| driver >= CudaVersion::new(major, 0));
    let everywhere = EMBEDDED.first().filter(|_| reads).map_or(&[][..], |image| image.cubins);
    choose(everywhere.iter().map(|(capability, _)| *capability), device)
}

fn choose(embedded: impl Iterator<Item = Capability>, device: Capability) -> Form {
    let runs = |&(major, minor): &Capability| major == device.0 && minor <= device.1;
    embedded.filter(runs).max().map_or(Form::Ptx, Form::Cubin)
}

/// The oldest CUDA whose drivers are promised to run this program: the one at which cudarc's calls are bound.
const OLDEST_DRIVER: CudaVersion = CudaVersion::new(12, 0);

/// What a driver must support to read the PTX, which every build has.
pub fn needed() -> CudaVersion {
    let versions = EMBEDDED.iter().filter_map(|image| CudaVersion::of_ptx_text(image.ptx));
    versions.max().expect("every PTX file that a compiler wrote has a version").max(OLDEST_DRIVER)
}

/// Refuses a driver that is too old.
///
/// # Errors
/// [`Error::Device`] naming both versions, and the driver to install.
pub fn check_driver(version: CudaVersion) -> Result<()> {
    let needed = needed();
    if version >= needed {
        return Ok(());
    }
    let advice = match needed.driver_branch() {
        Some(branch) => format!("install driver {branch} or newer"),
        None => format!("install a driver for CUDA {needed} or newer"),
    };
    let reason = format!("the driver supports CUDA {version} and the kernels need {needed}: {advice}");
    Err(Error::Device { what: "opening the GPU", reason })
}

/// The loaded images by file name.
pub struct Images {
    modules: Vec<(&'static str, Arc<CudaModule>)>,
    /// The form that was loaded.
    pub form: Form,
}

impl Images {
    /// Loads every image in the best form for the device; where the driver refuses machine code, as PTX.
    ///
    /// # Errors
    /// PTX that the driver is too old for or refuses, with its reason.
    pub fn load(context: &Arc<CudaContext>, device: Capability, driver: CudaVersion) -> Result<Images> {
        Self::load_best(context, EMBEDDED, best_form(device, driver))
    }

    fn load_best(context: &Arc<CudaContext>, list: &[Embedded], best: Form) -> Result<Images> {
        match Self::load_as(context, list, best) {
            Err(_) if best != Form::Ptx => Self::load_as(context, list, Form::Ptx),
            loaded => loaded,
        }
    }

    fn load_as(context: &Arc<CudaContext>, list: &[Embedded], form: Form) -> Result<Images> {
        let one = |image: &Embedded| {
            let cubin = image.cubins.iter().find(|(capability, _)| form == Form::Cubin(*capability));
            let source = match cubin {
                Some((_, cubin)) => Ptx::from_binary(cubin.to_vec()),
                None => Ptx::from_src(image.ptx),
            };
            let module = context.load_module(source).map_err(|e| Error::Device {
                what: "loading the kernels",
                reason: format!("{} as {form}: {}", image.file, explain(e)),
            })?;
            Ok((image.file, module))
        };
        Ok(Images { modules: list.iter().map(one).collect::<Result<_>>()?, form })
    }

    /// A kernel by its file and name.
    ///
    /// # Errors
    /// [`Error::Device`] naming both if there is none.
    pub fn find(&self, file: &str, kernel: &str) -> Result<CudaFunction> {
        let Some((_, module)) = self.modules.iter().find(|(name, _)| *name == file) else {
            let reason = format!("there is no image of {file}.cu in this build");
            return Err(Error::Device { what: "looking a kernel up", reason });
        };
        module.load_function(kernel).map_err(|e| match driver("looking a kernel up", e) {
            Error::Device { what, reason } => {
                Error::Device { what, reason: format!("{kernel} of {file}.cu: {reason}") }
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_gets_machine_code_of_its_own_major_version() {
        let embedded = [(8, 0), (8, 6), (8, 9), (9, 0)];
        for (device, form) in [
            ((8, 0), Form::Cubin((8, 0))),
            ((8, 6), Form::Cubin((8, 6))),
            ((8, 7), Form::Cubin((8, 6))),
            ((8, 9), Form::Cubin((8, 9))),
            ((9, 0), Form::Cubin((9, 0))),
            ((10, 0), Form::Ptx),
            ((12, 0), Form::Ptx),
        ] {
            assert_eq!(choose(embedded.into_iter(), device), form, "{device:?}");
        }
        assert_eq!(choose([(8, 9)].into_iter(), (8, 6)), Form::Ptx);
        assert_eq!(choose([].into_iter(), (9, 0)), Form::Ptx);
    }

    #[test]
    fn every_kernel_file_is_embedded_with_its_version() {
        for image in EMBEDDED {
            assert_eq!(CudaVersion::of_ptx_text(image.ptx), Some(needed()), "{}", image.file);
            assert_eq!(image.cubins.len(), EMBEDDED[0].cubins.len(), "{}", image.file);
        }
        // driver 525
        assert_eq!(needed(), OLDEST_DRIVER);
        assert_eq!(best_form((9, 0), CudaVersion::new(TOOLKIT.unwrap_or(13) - 1, 9)), Form::Ptx);
    }

    /// This machine's GPU, or the emulator.
    #[cfg(target_os = "linux")]
    fn context() -> Arc<CudaContext> {
        if !std::path::Path::new("/dev/nvidiactl").exists() {
            rewind_emulator::install().expect("the emulator is a dependency of the tests");
        }
        CudaContext::new(0).expect("a GPU or the emulator")
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_kernel_that_is_missing_is_named() {
        let images = Images::load_as(&context(), EMBEDDED, Form::Ptx).expect("images");
        images.find("elementwise", "fill").expect("it is there");
        for (file, kernel, words) in [
            ("elementwise", "no_such_kernel", "no_such_kernel of elementwise.cu: CUDA_ERROR_NOT_FOUND"),
            ("no_such_file", "fill", "there is no image of no_such_file.cu in this build"),
        ] {
            let error = images.find(file, kernel).expect_err("it is missing").to_string();
            assert!(error.contains(words), "no {words:?} in {error:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn machine_code_that_the_driver_refuses_gives_way_to_ptx() {
        // an ELF file with a head of zeros: machine code for no GPU
        const HOLLOW: &[u8] = &{
            let mut file = [0; 1 << 12];
            (file[0], file[1], file[2], file[3], file[4], file[5], file[6]) = (0x7f, b'E', b'L', b'F', 2, 1, 1);
            file
        };
        let ptx = EMBEDDED.iter().find(|image| image.file == "elementwise").expect("a kernel file").ptx;
        let list = [Embedded { file: "elementwise", ptx, cubins: &[((9, 0), HOLLOW)] }];
        let (context, form) = (context(), Form::Cubin((9, 0)));
        let refused = Images::load_as(&context, &list, form).err().map(|e| e.to_string()).expect("nothing to load");
        assert!(refused.contains("elementwise as machine code for sm_90: CUDA_ERROR"), "{refused}");
        let images = Images::load_best(&context, &list, form).expect("PTX");
        assert_eq!(images.form, Form::Ptx);
        images.find("elementwise", "fill").expect("it is there");
    }
}
