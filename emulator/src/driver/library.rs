//! Libraries: modules that belong to no context. Here they are modules of the context that loads them.

use super::code::Code;
use super::module::Options;
use super::state::{Find, Handle, driver, in_context};

exports! {
    fn cuLibraryLoadData(
        out: Out<Handle>, image: Host, numbers: In<u32>, values: Out<usize>, count: u32, _library: In<u32>,
        _library_values: In<usize>, _library_count: u32,
    ) {
        let options = Options { count: count as usize, numbers, values };
        in_context(|d, context| out.put(d.load_with_options("cuLibraryLoadData", context, image, &options)?))
    }
    fn cuLibraryUnload(library: Handle) {
        in_context(|d, _| d.unload(library))
    }
    fn cuLibraryGetModule(out: Out<Handle>, library: Handle) {
        driver(|d| {
            d.modules.find(library)?;
            out.put(library)
        })
    }
    fn cuLibraryGetKernel(out: Out<Handle>, library: Handle, name: Text) {
        in_context(|d, _| out.put(d.function(library, name.get()?)?))
    }
    fn cuLibraryGetGlobal(address: Out<u64>, bytes: Out<usize>, library: Handle, name: Text) {
        in_context(|d, _| {
            let (base, size) = d.variable(library, name.get()?)?;
            address.offer(base);
            bytes.offer(size as usize);
            Ok(())
        })
    }
    fn cuKernelGetFunction(out: Out<Handle>, kernel: Handle) {
        driver(|d| {
            d.functions.find(kernel)?;
            out.put(kernel)
        })
    }
    fn cuKernelGetLibrary(out: Out<Handle>, kernel: Handle) {
        driver(|d| out.put(d.functions.find(kernel)?.module))
    }
    fn cuLibraryLoadFromFile(_out: Out<Handle>, _path: Text) {
        // The call's other arguments are options; programs that have a file can load its contents.
        driver(|_| Err(Code::NOT_SUPPORTED))
    }
}
