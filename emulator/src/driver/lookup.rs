//! `cuGetProcAddress`: the library's own exports by name.

use super::code::Code;

/// Every file's exports.
const TABLES: &[&[(&str, *const ())]] = &[
    super::capture::EXPORTS,
    super::code::EXPORTS,
    super::context::EXPORTS,
    super::control::EXPORTS,
    super::copy::EXPORTS,
    super::device::EXPORTS,
    super::event::EXPORTS,
    super::function::EXPORTS,
    super::graph::EXPORTS,
    super::host::EXPORTS,
    super::launch::EXPORTS,
    super::library::EXPORTS,
    super::memory::EXPORTS,
    super::module::EXPORTS,
    super::occupancy::EXPORTS,
    super::pool::EXPORTS,
    super::rectangle::EXPORTS,
    super::stream::EXPORTS,
    super::unsupported::EXPORTS,
    super::work::EXPORTS,
    EXPORTS,
];

/// The newest form of a call that there is: callers name `cuMemAlloc` and mean `cuMemAlloc_v2`.
fn address(name: &str) -> Option<*const ()> {
    let find = |name: &str| TABLES.iter().flat_map(|t| t.iter()).find(|(known, _)| *known == name).map(|e| e.1);
    (2..=4).rev().find_map(|version| find(&format!("{name}_v{version}"))).or_else(|| find(name))
}

exports! {
    fn cuGetProcAddress_v2(name: Text, out: Out<*const ()>, _version: i32, flags: u64, status: Out<u32>) {
        // Default, legacy stream, or per-thread default stream: this library has no second set of calls for the last.
        if flags > 2 {
            return Err(Code::INVALID_VALUE);
        }
        let found = address(name.get()?);
        out.put(found.unwrap_or(std::ptr::null()))?;
        // CU_GET_PROC_ADDRESS_SUCCESS and _SYMBOL_NOT_FOUND
        status.offer(found.is_none().into());
        if found.is_some() || !status.is_null() { Ok(()) } else { Err(Code::NOT_FOUND) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_their_newest_form() {
        assert_eq!(address("cuMemAlloc"), address("cuMemAlloc_v2"));
        assert!(address("cuMemAlloc").is_some());
        assert!(address("cuInit").is_some());
        assert_eq!(address("cuNoSuchCall"), None);
    }

    #[test]
    fn no_call_is_exported_twice() {
        let mut names: Vec<_> = TABLES.iter().flat_map(|t| t.iter()).map(|e| e.0).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
