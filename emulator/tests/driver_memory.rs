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

/// A rectangle of `[width, height]` from (x, y) of one side to (x, y) of the other.
fn rectangle(
    from: (sys::CUmemorytype, u64, [usize; 3]),
    to: (sys::CUmemorytype, u64, [usize; 3]),
    size: [usize; 2],
) -> CUresult {
    let ((from_kind, from, [from_x, from_y, from_pitch]), (to_kind, to, [to_x, to_y, to_pitch])) = (from, to);
    let rectangle = sys::CUDA_MEMCPY2D {
        srcXInBytes: from_x,
        srcY: from_y,
        srcMemoryType: from_kind,
        srcHost: from as *const _,
        srcDevice: from,
        srcArray: std::ptr::null_mut(),
        srcPitch: from_pitch,
        dstXInBytes: to_x,
        dstY: to_y,
        dstMemoryType: to_kind,
        dstHost: to as *mut _,
        dstDevice: to,
        dstArray: std::ptr::null_mut(),
        dstPitch: to_pitch,
        WidthInBytes: size[0],
        Height: size[1],
    };
    // SAFETY: the rows lie within what the caller names, or the emulator refuses them.
    unsafe { sys::cuMemcpy2D_v2(&rectangle) }
}

#[test]
fn rectangles_are_copied_row_by_row() {
    use sys::CUmemorytype::{CU_MEMORYTYPE_ARRAY, CU_MEMORYTYPE_DEVICE, CU_MEMORYTYPE_HOST, CU_MEMORYTYPE_UNIFIED};
    let turn = turn();
    let stream = context().default_stream();
    // 4 rows of 5 bytes on the host, rows of 8 on the device; 3 x 2 bytes from (1, 1) go to (2, 1) and back to (0, 2).
    let data: Vec<u8> = (0..20).collect();
    let mut back = [0xff_u8; 20];
    let there = stream.alloc_zeros::<u8>(32).unwrap();
    let (address, guard) = there.device_ptr(&stream);
    let host = |pointer: *const u8, place| (CU_MEMORYTYPE_HOST, pointer as u64, place);
    let device = |place| (CU_MEMORYTYPE_DEVICE, address, place);
    assert_eq!(rectangle(host(data.as_ptr(), [1, 1, 5]), device([2, 1, 8]), [3, 2]), OK);
    assert_eq!(rectangle(device([2, 1, 8]), host(back.as_mut_ptr(), [0, 2, 5]), [3, 2]), OK);
    let mut expected = [0xff; 20];
    for row in 0..2 {
        for column in 0..3 {
            expected[(2 + row) * 5 + column] = data[(1 + row) * 5 + 1 + column];
        }
    }
    assert_eq!(back, expected);
    // Within the device, addresses sorted out by themselves.
    let unified = |place| (CU_MEMORYTYPE_UNIFIED, address, place);
    assert_eq!(rectangle(unified([2, 1, 8]), unified([0, 3, 8]), [3, 1]), OK);
    // Rows that run into each other, past the end, and from an array.
    assert_eq!(rectangle(device([2, 1, 4]), device([0, 0, 8]), [3, 2]), INVALID_VALUE);
    assert_eq!(rectangle(device([0, 0, 8]), host(back.as_mut_ptr(), [0, 0, 8]), [8, 5]), INVALID_VALUE);
    let array = (CU_MEMORYTYPE_ARRAY, address, [0, 0, 8]);
    assert_eq!(rectangle(array, device([0, 0, 8]), [3, 1]), CUresult::CUDA_ERROR_NOT_SUPPORTED);
    drop(guard);
    let found = stream.clone_dtoh(&there).unwrap();
    assert_eq!((&found[10..13], &found[18..21], &found[24..27]), (&data[6..9], &data[11..14], &data[6..9]));
    assert!(turn.emulator.take_faults().unwrap().is_empty());
}

#[test]
fn a_pool_is_its_own_devices() {
    let _turn = turn();
    let context = context();
    context.bind_to_thread().unwrap();
    let entry = |id, flags| sys::CUmemAccessDesc {
        location: sys::CUmemLocation { type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, id },
        flags,
    };
    use sys::CUmemAccess_flags::{CU_MEM_ACCESS_FLAGS_PROT_NONE, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    // SAFETY: pointers to values that live as long as the calls.
    unsafe {
        let mut pool = std::ptr::null_mut();
        assert_eq!(sys::cuDeviceGetDefaultMemPool(&mut pool, 0), OK);
        let set = |entry| sys::cuMemPoolSetAccess(pool, &entry, 1);
        assert_eq!(set(entry(0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE)), OK);
        assert_eq!(set(entry(0, CU_MEM_ACCESS_FLAGS_PROT_NONE)), INVALID_VALUE, "its device cannot be locked out");
        assert_eq!(set(entry(1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE)), CUresult::CUDA_ERROR_INVALID_DEVICE);
        let mut flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
        let mut location = entry(0, flags).location;
        assert_eq!(sys::cuMemPoolGetAccess(&mut flags, pool, &mut location), OK);
        assert_eq!(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
        let mut properties = std::mem::MaybeUninit::uninit();
        assert_eq!(sys::cuMemGetAllocationPropertiesFromHandle(properties.as_mut_ptr(), 1), INVALID_VALUE);
    }
}
