//! The formats of `printf`: each conversion is handed to the C library's `snprintf`, whose language it is.

use std::ffi::{CString, c_char, c_double, c_int, c_longlong};

/// Widths and precisions beyond this are cut: output is for reading.
const WIDEST: usize = 4096;

#[allow(unsafe_code)]
unsafe extern "C" {
    fn snprintf(out: *mut c_char, bytes: usize, format: *const c_char, ...) -> c_int;
}

/// One argument in the type that its conversion takes.
enum Value {
    Int(c_int),
    Long(c_longlong),
    Double(c_double),
    Text(CString),
}

/// The text of a format; `next` reads the next argument of 4 or 8 bytes, `string` the text at an address.
pub(in crate::exec) fn format(
    pattern: &[u8],
    next: &mut dyn FnMut(usize) -> u64,
    string: &dyn Fn(u64) -> Vec<u8>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = pattern;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        // Flags, width, precision; a `*` takes an argument.
        let mut spec = String::from("%");
        while let Some((&c, tail)) = rest.split_first()
            && b"-+ #0123456789.*".contains(&c)
        {
            rest = tail;
            if c == b'*' {
                spec += &(next(4) as i32).clamp(-(WIDEST as i32), WIDEST as i32).to_string();
            } else {
                spec.push(c.into());
            }
        }
        let digits = spec.split(|c: char| !c.is_ascii_digit());
        if digits.filter_map(|d| d.parse::<u64>().ok()).any(|n| n > WIDEST as u64) {
            spec = "%".into();
        }
        let mut long = false;
        while let Some((&c @ (b'l' | b'h' | b'z' | b'j' | b't' | b'L'), tail)) = rest.split_first() {
            rest = tail;
            long |= c != b'h' && c != b'L';
        }
        let Some((&conversion, tail)) = rest.split_first() else { break };
        rest = tail;
        let value = match conversion {
            b'%' => {
                out.push(b'%');
                continue;
            }
            b'd' | b'i' | b'u' | b'x' | b'X' | b'o' if long => {
                spec += "ll";
                Value::Long(next(8) as c_longlong)
            }
            b'd' | b'i' | b'u' | b'x' | b'X' | b'o' | b'c' => Value::Int(next(4) as c_int),
            b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b'A' => Value::Double(f64::from_bits(next(8))),
            b's' => Value::Text(CString::new(string(next(8))).unwrap_or_default()),
            b'p' => {
                spec = "%#llx".into();
                out.extend(written(&spec, &Value::Long(next(8) as c_longlong)));
                continue;
            }
            other => {
                out.extend(spec.bytes());
                out.push(other);
                continue;
            }
        };
        spec.push(conversion.into());
        out.extend(written(&spec, &value));
    }
    out
}

/// One conversion, done by the C library.
fn written(spec: &str, value: &Value) -> Vec<u8> {
    let Ok(spec) = CString::new(spec) else { return Vec::new() };
    // Twice at most: once to learn the length.
    let mut buffer = vec![0u8; 512];
    loop {
        let (out, bytes) = (buffer.as_mut_ptr().cast::<c_char>(), buffer.len());
        #[allow(unsafe_code)]
        // SAFETY: the buffer is as long as stated; the format holds one conversion, of just this argument's type.
        let length = unsafe {
            match value {
                Value::Int(v) => snprintf(out, bytes, spec.as_ptr(), *v),
                Value::Long(v) => snprintf(out, bytes, spec.as_ptr(), *v),
                Value::Double(v) => snprintf(out, bytes, spec.as_ptr(), *v),
                Value::Text(v) => snprintf(out, bytes, spec.as_ptr(), v.as_ptr()),
            }
        };
        let Ok(length) = usize::try_from(length) else { return Vec::new() };
        if length < buffer.len() {
            buffer.truncate(length);
            return buffer;
        }
        buffer.resize(length + 1, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_c_does() {
        let mut arguments =
            [-5i32 as u32 as u64, 255, u64::MAX, 2.5f64.to_bits(), 7, 3, 1.0f64.to_bits(), 0x1000, 65].into_iter();
        let mut sizes = Vec::new();
        let text = format(
            b"%d 0x%04x %llu %8.3f|%*d|%g %s%c 100%%",
            &mut |bytes| {
                sizes.push(bytes);
                arguments.next().expect("as many as conversions")
            },
            &|address| format!("at {address}").into_bytes(),
        );
        assert_eq!(String::from_utf8_lossy(&text), "-5 0x00ff 18446744073709551615    2.500|      3|1 at 4096A 100%");
        assert_eq!(sizes, [4, 4, 8, 8, 4, 4, 8, 8, 4]);
        assert_eq!(format(b"50%", &mut |_| 0, &|_| Vec::new()), b"50");
        assert_eq!(format(b"%q %999999d", &mut |_| 1, &|_| Vec::new()), b"%q 1");
    }
}
