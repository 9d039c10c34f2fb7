//! Calls that are there and say that they cannot be served: better than a missing symbol, at which bindings panic.

use super::code::Code;

/// Exports that ignore their arguments, which C callers may pass all the same: they are the caller's to clean up.
macro_rules! unsupported {
    ($($name:ident)*) => { exports! { $(fn $name() { Err(Code::NOT_SUPPORTED) })* } };
}

unsupported! {
    cuArrayCreate_v2 cuArrayDestroy cuArray3DCreate_v2 cuTexObjectCreate cuTexObjectDestroy cuSurfObjectCreate
    cuSurfObjectDestroy cuMipmappedArrayCreate cuMipmappedArrayDestroy
    cuMemcpy3D_v2 cuMemcpy3DAsync_v2 cuMemcpyBatchAsync_v2
    cuLinkCreate_v2 cuLinkAddData_v2 cuLinkAddFile_v2 cuLinkComplete cuLinkDestroy
    cuMemCreate cuMemMap cuMemUnmap cuMemRelease cuMemAddressReserve cuMemAddressFree cuMemSetAccess cuMemGetAccess
    cuMemGetAllocationGranularity cuMemExportToShareableHandle cuMemImportFromShareableHandle
    cuMemPoolExportToShareableHandle cuMemPoolImportFromShareableHandle
    cuMemPoolExportPointer cuMemPoolImportPointer cuMemRangeGetAttribute cuMemRangeGetAttributes
    cuIpcGetEventHandle cuIpcOpenEventHandle cuIpcGetMemHandle cuIpcOpenMemHandle_v2 cuIpcCloseMemHandle
    cuImportExternalMemory cuExternalMemoryGetMappedBuffer cuDestroyExternalMemory cuImportExternalSemaphore
    cuSignalExternalSemaphoresAsync cuWaitExternalSemaphoresAsync cuDestroyExternalSemaphore
    cuGraphAddKernelNode_v2 cuGraphAddMemcpyNode cuGraphAddMemsetNode cuGraphAddHostNode cuGraphAddChildGraphNode
    cuGraphAddEmptyNode cuGraphAddEventRecordNode cuGraphAddEventWaitNode cuGraphAddMemAllocNode cuGraphAddMemFreeNode
    cuGraphAddNode_v2 cuGraphAddDependencies_v2 cuGraphRemoveDependencies_v2 cuGraphGetEdges_v2 cuGraphDestroyNode
    cuGraphNodeGetType cuGraphNodeGetDependencies_v2 cuGraphExecUpdate_v2 cuGraphExecKernelNodeSetParams_v2
    cuGraphInstantiateWithParams cuGraphDebugDotPrint cuGraphExecGetFlags cuStreamBeginCaptureToGraph
    cuStreamUpdateCaptureDependencies_v2 cuStreamCopyAttributes cuStreamGetAttribute cuStreamSetAttribute
    cuStreamWaitValue32_v2 cuStreamWaitValue64_v2 cuStreamWriteValue32_v2 cuStreamWriteValue64_v2 cuStreamBatchMemOp_v2
    cuLaunchCooperativeKernelMultiDevice cuOccupancyMaxPotentialClusterSize cuOccupancyMaxActiveClusters
    cuTensorMapEncodeTiled cuTensorMapEncodeIm2col cuTensorMapReplaceAddress
    cuDeviceGetExecAffinitySupport cuDeviceGetGraphMemAttribute cuDeviceSetGraphMemAttribute cuDeviceGraphMemTrim
    cuGreenCtxCreate cuGreenCtxDestroy cuCtxFromGreenCtx cuFlushGPUDirectRDMAWrites cuGetExportTable
}
