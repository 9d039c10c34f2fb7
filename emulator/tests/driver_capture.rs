//! Streams, events and capture into graphs through cudarc.

// The driver's raw calls are unsafe.
#![allow(unsafe_code)]

mod device;

use std::sync::Arc;

use cudarc::driver::sys::{self, CUresult, CUstreamCaptureMode as Mode, CUstreamCaptureStatus as Status};
use cudarc::driver::{CudaContext, CudaGraph, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg, result};
use device::{code, context, kernel, reset, turn};

const OK: CUresult = CUresult::CUDA_SUCCESS;
const UNSUPPORTED: CUresult = CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
const INVALIDATED: CUresult = CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
const INVALID_HANDLE: CUresult = CUresult::CUDA_ERROR_INVALID_HANDLE;
const THREAD: Mode = Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
const GLOBAL: Mode = Mode::CU_STREAM_CAPTURE_MODE_GLOBAL;
const RELAXED: Mode = Mode::CU_STREAM_CAPTURE_MODE_RELAXED;
const PLAIN: sys::CUgraphInstantiate_flags = sys::CUgraphInstantiate_flags(0);

/// `x += n` for one word.
const ADD: &str = ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry add(.param .u64 x, .param .u32 n) {\n\
    .reg .b64 %d<3>; .reg .b32 %r<2>;\nld.param.u64 %d1, [x];\nld.param.u32 %r1, [n];\ncvta.to.global.u64 %d2, %d1;\n\
    red.global.add.u32 [%d2], %r1;\nret;\n}\n";

struct Adder {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    add: cudarc::driver::CudaFunction,
    x: CudaSlice<u32>,
}

impl Adder {
    /// Starts at 1. Without event tracking, as capture would wait for events recorded outside it.
    fn new() -> Adder {
        let context = context();
        // SAFETY: the tests use streams in order.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().unwrap();
        let add = kernel(&context, ADD, "add");
        let x = stream.clone_htod(&[1_u32]).unwrap();
        Adder { context, stream, add, x }
    }

    fn add_on(&mut self, stream: &Arc<CudaStream>, n: u32) -> Result<(), DriverError> {
        let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1, 1, 1), shared_mem_bytes: 0 };
        let mut launch = stream.launch_builder(&self.add);
        launch.arg(&mut self.x).arg(&n);
        // SAFETY: the parameters are the kernel's.
        unsafe { launch.launch(config) }.map(drop)
    }

    fn add(&mut self, n: u32) -> Result<(), DriverError> {
        let stream = self.stream.clone();
        self.add_on(&stream, n)
    }

    fn value(&self) -> u32 {
        self.stream.clone_dtoh(&self.x).unwrap()[0]
    }

    fn status(&self) -> Status {
        self.stream.capture_status().unwrap()
    }

    fn end(&self) -> Result<CudaGraph, DriverError> {
        self.stream.end_capture(PLAIN).map(|graph| graph.expect("a graph or an error"))
    }
}

fn nodes(graph: &CudaGraph) -> usize {
    let mut count = 0;
    // SAFETY: only the count is asked for.
    assert_eq!(unsafe { sys::cuGraphGetNodes(graph.cu_graph(), std::ptr::null_mut(), &mut count) }, OK);
    count
}

#[test]
fn a_capture_runs_when_launched_and_with_the_values_captured() {
    let turn = turn();
    let mut a = Adder::new();
    a.stream.begin_capture(THREAD).unwrap();
    assert_eq!(a.status(), Status::CU_STREAM_CAPTURE_STATUS_ACTIVE);
    let mut n = 10;
    a.add(n).unwrap();
    n += 1;
    a.add(n).unwrap();
    let graph = a.end().unwrap();
    assert_eq!(a.status(), Status::CU_STREAM_CAPTURE_STATUS_NONE);
    assert_eq!(nodes(&graph), 2);
    assert_eq!(a.value(), 1, "nothing has run");
    graph.upload().unwrap();
    graph.launch().unwrap();
    graph.launch().unwrap();
    assert_eq!(a.value(), 1 + 2 * 21);
    let statistics = turn.emulator.statistics().unwrap();
    assert_eq!((statistics.graph_launches, statistics.launches), (2, 4));
}

#[test]
fn copies_and_sets_are_captured_too() {
    let _turn = turn();
    let mut a = Adder::new();
    let mut other = a.stream.alloc_zeros::<u32>(1).unwrap();
    let from = [100_u32];
    a.stream.begin_capture(GLOBAL).unwrap();
    a.stream.memcpy_htod(&from, &mut a.x).unwrap();
    a.add(1).unwrap();
    a.stream.memcpy_dtod(&a.x, &mut other).unwrap();
    a.stream.memset_zeros(&mut a.x).unwrap();
    let graph = a.end().unwrap();
    assert_eq!(nodes(&graph), 4);
    assert_eq!(a.value(), 1);
    graph.launch().unwrap();
    assert_eq!((a.value(), a.stream.clone_dtoh(&other).unwrap()[0]), (0, 101));
}

#[test]
fn other_streams_join_by_events_and_must_be_joined_back() {
    let _turn = turn();
    let mut a = Adder::new();
    let side = a.context.new_stream().unwrap();
    a.stream.begin_capture(GLOBAL).unwrap();
    a.add(1).unwrap();
    side.wait(&a.stream.record_event(None).unwrap()).unwrap();
    assert_eq!(side.capture_status().unwrap(), Status::CU_STREAM_CAPTURE_STATUS_ACTIVE);
    a.add_on(&side, 2).unwrap();
    a.stream.wait(&side.record_event(None).unwrap()).unwrap();
    a.add(3).unwrap();
    let graph = a.end().unwrap();
    assert_eq!(side.capture_status().unwrap(), Status::CU_STREAM_CAPTURE_STATUS_NONE);
    assert_eq!(nodes(&graph), 3);
    graph.launch().unwrap();
    assert_eq!(a.value(), 7);

    a.stream.begin_capture(GLOBAL).unwrap();
    let fork = a.stream.record_event(None).unwrap();
    side.wait(&fork).unwrap();
    a.add_on(&side, 2).unwrap();
    let query = code(fork.try_is_complete());
    assert_eq!(query, CUresult::CUDA_ERROR_CAPTURED_EVENT);
    assert_eq!(code(a.end().map(drop)), INVALIDATED, "asking about a captured event is no part of a graph");

    a.stream.begin_capture(GLOBAL).unwrap();
    side.wait(&a.stream.record_event(None).unwrap()).unwrap();
    a.add_on(&side, 2).unwrap();
    assert_eq!(code(side.end_capture(PLAIN).map(drop)), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    assert_eq!(code(a.end().map(drop)), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    assert_eq!(a.value(), 7);
}

#[test]
fn calls_that_wait_invalidate_a_capture() {
    let _turn = turn();
    type Forbidden = fn(&Adder) -> Result<(), DriverError>;
    let forbidden: [(&str, Forbidden, CUresult); 8] = [
        ("cuStreamSynchronize", |a| a.stream.synchronize(), UNSUPPORTED),
        ("cuCtxSynchronize", |a| a.context.synchronize(), UNSUPPORTED),
        // SAFETY: refused.
        ("cuMemAlloc", |_| unsafe { result::malloc_sync(4) }.map(drop), UNSUPPORTED),
        ("cuMemAllocAsync", |a| a.stream.alloc_zeros::<u32>(1).map(drop), UNSUPPORTED),
        // SAFETY: refused.
        ("cuMemsetD8", |_| unsafe { result::memset_d8_sync(0, 0, 0) }, UNSUPPORTED),
        ("cuEventQuery", |a| a.context.new_stream()?.record_event(None)?.try_is_complete().map(drop), UNSUPPORTED),
        // SAFETY: the stream is live.
        ("cuStreamQuery", |a| unsafe { sys::cuStreamQuery(a.stream.cu_stream()) }.result(), UNSUPPORTED),
        (
            "wait for an event outside",
            |a| {
                let outside = a.context.new_stream()?.record_event(None)?;
                a.stream.wait(&outside)
            },
            CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
        ),
    ];
    for (name, call, expected) in forbidden {
        let mut a = Adder::new();
        a.stream.begin_capture(GLOBAL).unwrap();
        a.add(1).unwrap();
        assert_eq!(code(call(&a)), expected, "{name}");
        assert_eq!(a.status(), Status::CU_STREAM_CAPTURE_STATUS_INVALIDATED, "{name}");
        assert_eq!(code(a.add(1)), INVALIDATED, "{name}");
        assert_eq!(code(a.end().map(drop)), INVALIDATED, "{name}");
        a.add(1).unwrap();
        assert_eq!(a.value(), 2, "{name}: the stream works again");
    }
}

#[test]
fn the_modes_differ_in_what_other_threads_may_do() {
    let _turn = turn();
    for (mode, allowed) in [(GLOBAL, false), (THREAD, true), (RELAXED, true)] {
        let a = Adder::new();
        a.stream.begin_capture(mode).unwrap();
        let context = a.context.clone();
        let elsewhere = std::thread::spawn(move || {
            context.bind_to_thread().unwrap();
            // SAFETY: freed at once.
            unsafe { result::malloc_sync(4).and_then(|at| result::free_sync(at)) }
        });
        assert_eq!(code(elsewhere.join().unwrap()), if allowed { OK } else { UNSUPPORTED });
        assert_eq!(code(a.end().map(drop)), if allowed { OK } else { INVALIDATED });
    }
    let a = Adder::new();
    a.stream.begin_capture(RELAXED).unwrap();
    // SAFETY: freed at once.
    unsafe { result::malloc_sync(4).and_then(|at| result::free_sync(at)) }.expect("relaxed");
    a.end().unwrap();
    a.stream.begin_capture(THREAD).unwrap();
    let stream = a.stream.clone();
    let elsewhere = std::thread::spawn(move || code(stream.end_capture(PLAIN).map(drop)));
    assert_eq!(elsewhere.join().unwrap(), CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    a.end().unwrap();
}

#[test]
fn the_legacy_stream_is_not_captured_and_not_used_beside_blocking_captures() {
    let _turn = turn();
    let mut a = Adder::new();
    let legacy = a.context.default_stream();
    assert_eq!(code(legacy.begin_capture(GLOBAL)), UNSUPPORTED);
    assert_eq!(code(legacy.end_capture(PLAIN).map(drop)), CUresult::CUDA_ERROR_ILLEGAL_STATE);
    // cudarc's streams do not block the legacy one: work there goes its own way.
    a.stream.begin_capture(THREAD).unwrap();
    a.add_on(&legacy, 5).unwrap();
    assert_eq!(code(a.stream.begin_capture(THREAD)), CUresult::CUDA_ERROR_ILLEGAL_STATE);
    assert_eq!(nodes(&a.end().unwrap()), 0);
    assert_eq!(a.value(), 6);
    let blocking = result::stream::create(result::stream::StreamKind::Default).unwrap();
    // SAFETY: the stream is live until destroyed.
    unsafe {
        result::stream::begin_capture(blocking, THREAD).unwrap();
        assert_eq!(code(a.add_on(&legacy, 5)), CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        assert_eq!(code(result::stream::end_capture(blocking)), INVALIDATED);
        result::stream::destroy(blocking).unwrap();
    }
}

#[test]
fn a_graph_that_outlives_its_memory_faults() {
    let turn = turn();
    let mut a = Adder::new();
    a.stream.begin_capture(THREAD).unwrap();
    a.add(1).unwrap();
    let graph = a.end().unwrap();
    let fresh = a.stream.alloc_zeros::<u32>(1).unwrap();
    drop(std::mem::replace(&mut a.x, fresh));
    graph.launch().unwrap();
    assert_eq!(code(a.stream.synchronize()), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    let fault = &turn.emulator.take_faults().unwrap()[0];
    assert!(fault.what.contains("freed"), "{fault}");
    reset();
}

#[test]
fn graphs_have_rules_of_their_own() {
    let _turn = turn();
    let mut a = Adder::new();
    a.stream.begin_capture(THREAD).unwrap();
    a.add(1).unwrap();
    use sys::CUgraphInstantiate_flags as Flags;
    let both =
        Flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | Flags::CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH;
    assert_eq!(code(a.stream.end_capture(both).map(drop)), CUresult::CUDA_ERROR_INVALID_VALUE);
    a.stream.begin_capture(THREAD).unwrap();
    a.add(1).unwrap();
    let inner = a.end().unwrap();
    a.stream.begin_capture(THREAD).unwrap();
    inner.launch().unwrap();
    a.add(10).unwrap();
    let outer = a.end().unwrap();
    assert_eq!(a.value(), 1);
    drop(inner);
    outer.launch().unwrap();
    assert_eq!(a.value(), 12);
    // SAFETY: refused: there is no such graph.
    let stale = code(unsafe { result::graph::launch(0x77770 as sys::CUgraphExec, a.stream.cu_stream()) });
    assert_eq!(stale, CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn events_measure_time() {
    let _turn = turn();
    let context = context();
    let stream = context.new_stream().unwrap();
    let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
    let start = stream.record_event(timed).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let end = stream.record_event(timed).unwrap();
    let elapsed = start.elapsed_ms(&end).unwrap();
    // At least the sleep, which may take longer on a busy machine; a minute would be another unit.
    assert!((20.0..60_000.0).contains(&elapsed), "{elapsed}");
    assert!(end.is_complete());
    let untimed = stream.record_event(None).unwrap();
    assert_eq!(code(start.elapsed_ms(&untimed)), INVALID_HANDLE);
    let never = context.new_event(timed).unwrap();
    assert_eq!(code(start.elapsed_ms(&never)), INVALID_HANDLE);
    stream.wait(&never).expect("nothing to wait for");
    // SAFETY: refused.
    let odd = unsafe { sys::cuEventCreate(&mut std::ptr::null_mut(), 64) };
    assert_eq!(odd, CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn streams_have_flags_and_priorities() {
    let _turn = turn();
    let context = context();
    context.bind_to_thread().unwrap();
    let (least, greatest) = result::stream::get_priority_range().unwrap();
    assert!(greatest < least);
    let kind = result::stream::StreamKind::NonBlocking;
    let handle = result::stream::create_with_priority(kind, greatest - 100).unwrap();
    let (mut priority, mut flags) = (0, 0);
    // SAFETY: the stream is live until destroyed; afterwards it is refused.
    unsafe {
        assert_eq!(sys::cuStreamGetPriority(handle, &mut priority), OK);
        assert_eq!(sys::cuStreamGetFlags(handle, &mut flags), OK);
        assert_eq!((priority, flags), (greatest, 1));
        result::stream::destroy(handle).unwrap();
        assert_eq!(code(result::stream::synchronize(handle)), INVALID_HANDLE);
        assert_eq!(code(result::stream::destroy(handle)), INVALID_HANDLE);
        assert_eq!(code(result::event::destroy(handle.cast())), INVALID_HANDLE);
        assert_eq!(code(result::stream::destroy(std::ptr::null_mut())), INVALID_HANDLE);
    }
    context.per_thread_stream().synchronize().unwrap();
}

#[test]
fn host_functions_run_and_may_not_call_back() {
    let _turn = turn();
    let context = context();
    let stream = context.new_stream().unwrap();
    unsafe extern "C" fn ask(answer: *mut std::ffi::c_void) {
        let mut device = 0;
        // SAFETY: the answer lives in the test below, which waits.
        unsafe { *answer.cast::<u32>() = sys::cuCtxGetDevice(&mut device) as u32 };
    }
    let mut answer = 0_u32;
    // SAFETY: the function runs before the stream is synchronised.
    unsafe { result::stream::launch_host_function(stream.cu_stream(), ask, (&raw mut answer).cast()) }.unwrap();
    stream.synchronize().unwrap();
    assert_eq!(answer, CUresult::CUDA_ERROR_NOT_PERMITTED as u32);
}
