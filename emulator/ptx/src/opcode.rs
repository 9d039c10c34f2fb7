//! The opcodes. One enum variant per operation that the executor must tell apart before it looks at modifiers.

use super::spelled::spelled;

spelled! {
    /// What an instruction does. Words whose place is fixed are part of the spelling.
    Opcode {
        Abs = "abs", Activemask = "activemask", Add = "add", Addc = "addc", And = "and", Atom = "atom",
        BarArrive = "bar.arrive", BarRed = "bar.red", BarSync = "bar.sync", BarWarpSync = "bar.warp.sync",
        BarrierArrive = "barrier.arrive", BarrierRed = "barrier.red", BarrierSync = "barrier",
        Bfe = "bfe", Bfi = "bfi", Bfind = "bfind", Bra = "bra", Brev = "brev", Brkpt = "brkpt", BrxIdx = "brx.idx",
        Call = "call", Clz = "clz", Cnot = "cnot", Copysign = "copysign", Cos = "cos",
        CpAsync = "cp.async", CpAsyncBulk = "cp.async.bulk", CpAsyncMbarrierArrive = "cp.async.mbarrier.arrive",
        CpAsyncCommitGroup = "cp.async.commit_group",
        CpAsyncWaitAll = "cp.async.wait_all", CpAsyncWaitGroup = "cp.async.wait_group",
        Bmsk = "bmsk", Cvt = "cvt", Cvta = "cvta", CvtaTo = "cvta.to",
        Div = "div", ElectSync = "elect", Dp2a = "dp2a", Dp4a = "dp4a", Ex2 = "ex2", Exit = "exit", Fence = "fence", FenceMbarrierInit = "fence.mbarrier_init", Fma = "fma", Fns = "fns",
        Isspacep = "isspacep", Ld = "ld", Ldmatrix = "ldmatrix", Ldu = "ldu", Lg2 = "lg2",
        Lop3 = "lop3", Mad = "mad", Mad24 = "mad24", Madc = "madc",
        MatchAll = "match", MatchAny = "match", Max = "max", MbarrierArrive = "mbarrier.arrive",
        MbarrierArriveDrop = "mbarrier.arrive_drop", MbarrierArriveDropExpectTx = "mbarrier.arrive_drop.expect_tx",
        MbarrierArriveDropNoComplete = "mbarrier.arrive_drop.noComplete",
        MbarrierArriveExpectTx = "mbarrier.arrive.expect_tx", MbarrierArriveNoComplete = "mbarrier.arrive.noComplete",
        MbarrierCompleteTx = "mbarrier.complete_tx", MbarrierExpectTx = "mbarrier.expect_tx",
        MbarrierInit = "mbarrier.init", MbarrierInval = "mbarrier.inval",
        MbarrierPendingCount = "mbarrier.pending_count", MbarrierTestWait = "mbarrier.test_wait",
        MbarrierTestWaitParity = "mbarrier.test_wait.parity", MbarrierTryWait = "mbarrier.try_wait",
        MbarrierTryWaitParity = "mbarrier.try_wait.parity", Membar = "membar", Min = "min",
        Mma = "mma", Mov = "mov", Movmatrix = "movmatrix", Mul = "mul", Mul24 = "mul24",
        Nanosleep = "nanosleep", Neg = "neg", Not = "not", Or = "or", Pmevent = "pmevent", Popc = "popc",
        Prefetch = "prefetch", Prmt = "prmt", Rcp = "rcp", Red = "red", Redux = "redux", Rem = "rem", Ret = "ret",
        Rsqrt = "rsqrt", Sad = "sad", Selp = "selp", Set = "set", Setmaxnreg = "setmaxnreg", Setp = "setp", Shf = "shf", Shfl = "shfl",
        Shl = "shl", Shr = "shr", Sin = "sin", Slct = "slct", Sqrt = "sqrt", St = "st",
        Stmatrix = "stmatrix", Sub = "sub", Subc = "subc", Tanh = "tanh", Testp = "testp",
        Trap = "trap", Vabsdiff4 = "vabsdiff4", Vote = "vote",
        WmmaLoadA = "wmma.load.a", WmmaLoadB = "wmma.load.b",
        WmmaLoadC = "wmma.load.c", WmmaMma = "wmma.mma",
        WmmaStoreD = "wmma.store.d", Xor = "xor",
    }
}
