//! Recorded steps: the launches of one step, captured once into a CUDA graph and launched as a whole from then on.

use std::sync::Arc;

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode};
use cudarc::driver::{CudaGraph, CudaStream, DriverError};

use super::error::{driver, explain};
use crate::error::{Error, Result};

/// A graph that is ready to launch.
pub struct Recording(CudaGraph);

// SAFETY: the driver lets any thread use a graph as long as one at a time does; a recording is never shared.
unsafe impl Send for Recording {}

/// Captures what `f` launches, once, and launches the graph.
pub fn replay(
    stream: &Arc<CudaStream>,
    recorded: &mut Option<Recording>,
    f: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let recording = match recorded {
        Some(recording) => recording,
        None => recorded.insert(record(stream, f)?),
    };
    // a driver may take a graph's memory when it is first launched
    recording.0.launch().map_err(|e| no_room(e).unwrap_or_else(|| driver("launching a recorded step", e)))
}

fn no_room(error: DriverError) -> Option<Error> {
    (error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY).then_some(Error::NoRoomToRecord)
}

fn record(stream: &Arc<CudaStream>, f: impl FnOnce() -> Result<()>) -> Result<Recording> {
    // This mode refuses, on this thread, whatever would allocate or wait inside a step.
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    stream.begin_capture(mode).map_err(|e| driver("starting to record a step", e))?;
    let launched = f();
    let captured = stream.end_capture(CUgraphInstantiate_flags(0));
    // What went wrong among the launches says more than that their capture is broken.
    launched?;
    let refused = |reason| Error::Device {
        what: "recording a step as a CUDA graph",
        reason: format!("{reason}; `eager` launches kernel by kernel"),
    };
    match captured {
        Ok(Some(graph)) => Ok(Recording(graph)),
        Ok(None) => Err(refused("the driver returned none".into())),
        Err(error) => Err(no_room(error).unwrap_or_else(|| refused(explain(error)))),
    }
}
