//! What C callers hand over: pointers in types that say what they are for, so that unsafe code about them is here alone.
//!
//! Values of these types come from the arguments of exports, whose callers promise by the driver API's contract that
//! every pointer that is not null points to what the call says.

use std::ffi::{CStr, c_char, c_void};

use super::code::{Code, Result};

/// Where a result goes.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Writes the result; null is refused.
    pub fn put(&self, value: T) -> Result<()> {
        self.at(0, value)
    }

    /// Writes the result unless the caller does not want it.
    pub fn offer(&self, value: T) {
        if !self.0.is_null() {
            // Cannot fail: it is not null.
            let _ = self.put(value);
        }
    }

    /// Writes one element of an array.
    #[allow(unsafe_code)]
    pub fn at(&self, index: usize, value: T) -> Result<()> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: not null, so by the caller's promise there is room for the value; see the module's docs.
        unsafe { self.0.add(index).write_unaligned(value) };
        Ok(())
    }

    /// Whether the caller passed null.
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl<T: Copy> Out<T> {
    /// What lies there now, of results that are also arguments.
    pub fn current(&self) -> Result<T> {
        self.current_at(0)
    }

    /// The same of an element.
    pub fn current_at(&self, index: usize) -> Result<T> {
        In(self.0.cast_const()).at(index)
    }
}

/// Values to read.
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T> In<T> {
    /// As if the caller passed nothing.
    pub fn null() -> In<T> {
        In(std::ptr::null())
    }
}

impl<T: Copy> In<T> {
    /// The value.
    pub fn get(&self) -> Result<T> {
        self.at(0)
    }

    /// An element of an array.
    #[allow(unsafe_code)]
    pub fn at(&self, index: usize) -> Result<T> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: not null, so by the caller's promise the value is there; see the module's docs.
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }

    /// Whether the caller passed null.
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

/// A nul-terminated string.
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    /// The string; null or not UTF-8 is refused.
    #[allow(unsafe_code)]
    pub fn get(&self) -> Result<&str> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: not null, so by the caller's promise a nul-terminated string that outlives the call.
        unsafe { CStr::from_ptr(self.0) }.to_str().map_err(|_| Code::INVALID_VALUE)
    }
}

/// Memory of the host.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host(pub usize);

impl Host {
    /// The address as the device would see it.
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// Bytes to read, with a lifetime that the caller must keep short: a copy, never longer.
    #[allow(unsafe_code)]
    pub fn source<'a>(self, bytes: usize) -> Result<&'a [u8]> {
        match (self.0, bytes) {
            (_, 0) => Ok(&[]),
            (0, _) => Err(Code::INVALID_VALUE),
            // SAFETY: not null; the caller of a copy promises so many readable bytes until the copy is done.
            _ => Ok(unsafe { std::slice::from_raw_parts(self.0 as *const u8, bytes) }),
        }
    }

    /// Bytes to write, as above.
    #[allow(unsafe_code)]
    pub fn target<'a>(self, bytes: usize) -> Result<&'a mut [u8]> {
        match (self.0, bytes) {
            (_, 0) => Ok(&mut []),
            (0, _) => Err(Code::INVALID_VALUE),
            // SAFETY: not null; the caller of a copy promises so many writable bytes until the copy is done.
            _ => Ok(unsafe { std::slice::from_raw_parts_mut(self.0 as *mut u8, bytes) }),
        }
    }

    /// A module's image: text up to its nul, or what tells that it is something else.
    #[allow(unsafe_code)]
    pub fn image<'a>(self) -> Result<Image<'a>> {
        const CUBIN: &[u8] = b"\x7fELF";
        const FATBIN: &[u8] = &0xba55_ed50_u32.to_le_bytes();
        const FATBIN_WRAPPER: &[u8] = &0x4662_43b1_u32.to_le_bytes();
        if self.0 == 0 {
            return Err(Code::INVALID_VALUE);
        }
        let magic = |magic: &[u8]| {
            // SAFETY: the caller promises an image; reading stops at the first byte that differs, so that a text's end
            // is never passed.
            magic.iter().enumerate().all(|(i, &byte)| unsafe { *(self.0 as *const u8).add(i) } == byte)
        };
        if magic(CUBIN) || magic(FATBIN) || magic(FATBIN_WRAPPER) {
            return Ok(Image::Binary);
        }
        // SAFETY: not a binary, so by the caller's promise nul-terminated PTX, read before the call returns.
        Ok(Image::Text(unsafe { CStr::from_ptr(self.0 as *const c_char) }.to_bytes()))
    }
}

/// What a module can be loaded from.
pub enum Image<'a> {
    /// PTX.
    Text(&'a [u8]),
    /// Machine code in one of its containers.
    Binary,
}

/// A function of the caller that takes a pointer of the caller: `cuLaunchHostFunc`.
#[derive(Debug, Clone, Copy)]
pub struct HostFunction {
    function: extern "C" fn(*mut c_void),
    data: Host,
}

impl HostFunction {
    /// Both parts as the caller passed them.
    pub fn new(function: extern "C" fn(*mut c_void), data: Host) -> HostFunction {
        HostFunction { function, data }
    }

    /// Calls it.
    pub fn call(self) {
        (self.function)(self.data.0 as *mut c_void);
    }
}
