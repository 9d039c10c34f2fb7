//! Device memory through cudarc: allocation, pools, copies, sets, and each misuse.

// The driver's raw calls are unsafe.
#![allow(unsafe_code)]

mod device;

use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, DevicePtr, result};
use device::{code, context, turn};

const OK: CUresult = CUresult::CUDA_SUCCESS;
const INVALID_VALUE: CUresult = CUresult::CUDA_ERROR_INVALID_VALUE;

#[test]
fn copies_come_back_as_they_went() {
    let turn = turn();
    let stream = context().default_stream();
    // Lengths around the words of 8 bytes that copies move.
    for len in [1, 3, 7, 8, 9, 1000] {
        let data: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
        let there = stream.clone_htod(&data).unwrap();
        let copy = stream.clone_dtod(&there).unwrap();
        assert_eq!(stream.clone_dtoh(&copy).unwrap(), data);
    }
    let statistics = turn.emulator.statistics().unwrap();
    assert_eq!((statistics.copies_to_device, statistics.copies_to_host, statistics.copies_within_device), (6, 6, 6));
    assert_eq!(statistics.bytes_to_device, 1 + 3 + 7 + 8 + 9 + 1000);
    assert_eq!((statistics.allocations, statistics.frees), (12, 12));
}

#[test]
fn slices_are_copied_within_their_bounds() {
    let _turn = turn();
    let stream = context().default_stream();
    let mut there = stream.clone_htod(&[0_u32, 1, 2, 3, 4, 5]).unwrap();
    let other = stream.clone_htod(&[10_u32, 11]).unwrap();
    stream.memcpy_dtod(&other, &mut there.slice_mut(2..4)).unwrap();
    stream.memset_zeros(&mut there.slice_mut(5..)).unwrap();
    assert_eq!(stream.clone_dtoh(&there).unwrap(), [0, 1, 10, 11, 4, 0]);
}

#[test]
fn sets_of_every_width() {
    let _turn = turn();
    let context = context();
    context.bind_to_thread().unwrap();
    // SAFETY: the emulator checks addresses.
    unsafe {
        let at = result::malloc_sync(64).unwrap();
        let stream = context.new_stream().unwrap();
        assert_eq!(sys::cuMemsetD8_v2(at, 0xaa, 64), OK);
        assert_eq!(sys::cuMemsetD16_v2(at + 2, 0x1234, 3), OK);
        assert_eq!(sys::cuMemsetD32Async(at + 16, 0xdead_beef, 2, stream.cu_stream()), OK);
        assert_eq!(sys::cuMemsetD2D8_v2(at + 32, 8, 7, 3, 2), OK);
        let mut back = [0_u8; 64];
        result::memcpy_dtoh_sync(&mut back, at).unwrap();
        let mut expected = [0xaa_u8; 64];
        expected[2..8].copy_from_slice(&[0x34, 0x12, 0x34, 0x12, 0x34, 0x12]);
        expected[16..24].copy_from_slice(&[0xef, 0xbe, 0xad, 0xde, 0xef, 0xbe, 0xad, 0xde]);
        expected[32..35].fill(7);
        expected[40..43].fill(7);
        assert_eq!(back, expected);
        assert_eq!(sys::cuMemsetD16_v2(at + 1, 0, 1), INVALID_VALUE, "misaligned");
        assert_eq!(sys::cuMemsetD32_v2(at, 0, 17), INVALID_VALUE, "beyond the end");
        assert_eq!(sys::cuMemsetD2D8_v2(at, 2, 0, 3, 2), INVALID_VALUE, "rows wider than their pitch");
        result::free_sync(at).unwrap();
    }
}

#[test]
fn memory_info_counts_what_is_allocated() {
    let _turn = turn();
    let context = context();
    let (before, total) = context.mem_get_info().unwrap();
    assert_eq!(before, total);
    assert_eq!(context.total_mem().unwrap(), total);
    let there = context.default_stream().alloc_zeros::<u8>(1 << 20).unwrap();
    assert_eq!(context.mem_get_info().unwrap().0, before - (1 << 20));
    drop(there);
    assert_eq!(context.mem_get_info().unwrap().0, before);
    // SAFETY: refused.
    let full = unsafe { result::malloc_sync(total + 1) };
    assert_eq!(code(full), CUresult::CUDA_ERROR_OUT_OF_MEMORY);
}

#[test]
fn wrong_addresses_are_refused_and_spoil_nothing() {
    let _turn = turn();
    let context = context();
    let stream = context.new_stream().unwrap();
    // SAFETY: the emulator checks addresses.
    unsafe {
        let at = result::malloc_sync(16).unwrap();
        let pooled = result::malloc_async(stream.cu_stream(), 16).unwrap();
        let mut host = [0_u8; 17];
        assert_eq!(code(result::memcpy_dtoh_sync(&mut host, at)), INVALID_VALUE, "one byte too many");
        assert_eq!(code(result::memcpy_htod_async(at + 8, &host[..9], stream.cu_stream())), INVALID_VALUE);
        assert_eq!(code(result::memcpy_dtod_sync(at, 0xdead_0000, 4)), INVALID_VALUE);
        assert_eq!(sys::cuMemcpyHtoD_v2(at, at as *const _, 4), INVALID_VALUE, "a device address for a host one");
        assert_eq!(sys::cuMemcpyHtoD_v2(at, std::ptr::null(), 4), INVALID_VALUE);
        assert_eq!(code(result::malloc_sync(0)), INVALID_VALUE);
        assert_eq!(code(result::free_sync(at + 4)), INVALID_VALUE, "not the start");
        assert_eq!(code(result::free_async(at, stream.cu_stream())), INVALID_VALUE, "not from a pool");
        assert_eq!(sys::cuMemFreeHost(at as *mut _), INVALID_VALUE);
        assert_eq!(code(result::free_sync(at)), OK);
        assert_eq!(code(result::free_sync(at)), INVALID_VALUE, "twice");
        assert_eq!(code(result::free_sync(pooled)), OK, "cuMemFree takes pool memory");
        assert_eq!(code(result::free_sync(0)), OK, "null is nothing to free");
    }
    stream.synchronize().unwrap();
}

#[test]
fn pools_know_what_they_gave() {
    let _turn = turn();
    let context = context();
    let stream = context.new_stream().unwrap();
    assert!(context.has_async_alloc());
    // SAFETY: attributes are read and written with their own types.
    unsafe {
        let pool = result::device::get_default_mem_pool(0).unwrap();
        assert_eq!(result::device::get_mem_pool(0).unwrap(), pool);
        let read = |attribute| {
            let mut value = 0_u64;
            result::mem_pool::get_attribute(pool, attribute, (&raw mut value).cast()).unwrap();
            value
        };
        use sys::CUmemPool_attribute as Attribute;
        let before = read(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
        let there = stream.alloc_zeros::<u8>(1000).unwrap();
        assert_eq!(read(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT), before + 1000);
        drop(there);
        assert_eq!(read(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT), before);
        assert!(read(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH) >= before + 1000);
        let mut threshold = u64::MAX;
        let attribute = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast()).unwrap();
        assert_eq!(read(attribute), u64::MAX);
        result::mem_pool::trim_to(pool, 0).unwrap();
        assert_eq!(code(result::mem_pool::destroy(pool)), INVALID_VALUE, "the device's own");

        let mut properties: sys::CUmemPoolProps = std::mem::zeroed();
        properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
        properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
        let own = result::mem_pool::create(&properties).unwrap();
        let at = result::mem_pool::alloc_async(own, 64, stream.cu_stream()).unwrap();
        result::free_async(at, stream.cu_stream()).unwrap();
        result::mem_pool::destroy(own).unwrap();
        assert_eq!(code(result::mem_pool::destroy(own)), INVALID_VALUE, "twice");
        assert_eq!(code(result::mem_pool::alloc_async(own, 64, stream.cu_stream())), INVALID_VALUE);
    }
}

#[test]
fn host_memory_of_every_kind() {
    let _turn = turn();
    let context = context();
    let stream = context.new_stream().unwrap();
    // SAFETY: the lengths are those allocated.
    unsafe {
        let mut pinned = context.alloc_pinned::<u32>(16).unwrap();
        pinned.as_mut_slice().unwrap().iter_mut().zip(0..).for_each(|(to, i)| *to = i);
        let there = stream.clone_htod(&pinned).unwrap();
        assert_eq!(stream.clone_dtoh(&there).unwrap(), (0..16).collect::<Vec<u32>>());

        let attach = sys::CUmemAttach_flags::CU_MEM_ATTACH_GLOBAL;
        let managed = result::malloc_managed(64, attach).unwrap();
        (managed as *mut u32).write(42);
        let mut back = [0_u32];
        result::memcpy_dtoh_sync(&mut back, managed).unwrap();
        assert_eq!(back, [42]);
        let mut is_managed = 0_u32;
        let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_IS_MANAGED;
        assert_eq!(sys::cuPointerGetAttribute((&raw mut is_managed).cast(), attribute, managed), OK);
        assert_eq!(is_managed, 1);
        result::free_sync(managed).unwrap();

        let mut own = vec![5_u8; 100];
        let at = own.as_mut_ptr().cast();
        assert_eq!(sys::cuMemHostRegister_v2(at, 100, 0), OK);
        let again = sys::cuMemHostRegister_v2(at.byte_add(50), 10, 0);
        assert_eq!(again, CUresult::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
        let mut device = 0;
        assert_eq!(sys::cuMemHostGetDevicePointer_v2(&mut device, at, 0), OK);
        assert_eq!(sys::cuMemsetD8_v2(device + 10, 9, 80), OK);
        assert_eq!(sys::cuMemHostUnregister(at), OK);
        assert_eq!((own[9], own[10], own[89], own[90]), (5, 9, 9, 5));
        assert_eq!(sys::cuMemHostUnregister(at), CUresult::CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    }
}

#[test]
fn generic_copies_sort_addresses_out() {
    let _turn = turn();
    let _context = context();
    // SAFETY: four bytes each.
    unsafe {
        let (a, b) = (result::malloc_sync(4).unwrap(), result::malloc_sync(4).unwrap());
        let (from, mut to) = (*b"abcd", *b"....");
        assert_eq!(sys::cuMemcpy(a, from.as_ptr() as u64, 4), OK);
        assert_eq!(sys::cuMemcpy(b, a, 4), OK);
        assert_eq!(sys::cuMemcpyAsync(to.as_mut_ptr() as u64, b, 4, std::ptr::null_mut()), OK);
        assert_eq!(to, from);
        result::free_sync(a).unwrap();
        result::free_sync(b).unwrap();
    }
}

#[test]
fn a_device_has_no_peers() {
    let _turn = turn();
    let context = context();
    let mut can = 1;
    // SAFETY: plain queries.
    unsafe {
        assert_eq!(sys::cuDeviceCanAccessPeer(&mut can, 0, 0), OK);
        assert_eq!(can, 0);
        assert_eq!(sys::cuDeviceCanAccessPeer(&mut can, 0, 1), CUresult::CUDA_ERROR_INVALID_DEVICE);
        let same = sys::cuCtxEnablePeerAccess(context.cu_ctx(), 0);
        assert_eq!(same, CUresult::CUDA_ERROR_INVALID_CONTEXT);
        let other = CudaContext::new_non_primary(0, 0).unwrap();
        context.bind_to_thread().unwrap();
        let refused = sys::cuCtxEnablePeerAccess(other.cu_ctx(), 0);
        assert_eq!(refused, CUresult::CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
    }
    assert_eq!(code(CudaContext::new(1).map(drop)), CUresult::CUDA_ERROR_INVALID_DEVICE);
}

#[test]
fn a_context_frees_its_leaks() {
    let turn = turn();
    let context = CudaContext::new_non_primary(0, 0).unwrap();
    let before = context.mem_get_info().unwrap().0;
    let slice = context.default_stream().alloc_zeros::<u8>(4096).unwrap();
    let address = slice.device_ptr(&context.default_stream()).0;
    slice.leak();
    // SAFETY: leaked on purpose; the context ends below.
    let pinned = unsafe { result::malloc_host(4096, 0) }.unwrap();
    assert!(!pinned.is_null());
    drop(context);
    let context = device::context();
    assert_eq!(context.mem_get_info().unwrap().0, before);
    // SAFETY: refused, as it is freed.
    assert_eq!(code(unsafe { result::free_sync(address) }), INVALID_VALUE);
    assert_eq!(turn.emulator.statistics().unwrap().frees, 1);
}
