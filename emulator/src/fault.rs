//! What goes wrong while a kernel runs, and how it is reported.

use serde::{Deserialize, Serialize};

/// Kinds of fault; each becomes one of CUDA's error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// An address outside every allocation, or in a freed one.
    OutOfBounds,
    /// An address that is no multiple of the access's size.
    Misaligned,
    /// A read of bytes that nobody has written.
    Uninitialised,
    /// Two threads touch one byte, one of them writing, with nothing between that orders them.
    Race,
    /// A barrier that some threads skip or leave, or that different threads reach in different places.
    Barrier,
    /// Data of an asynchronous copy touched before the wait for it.
    AsyncCopy,
    /// A shuffle that reads a lane which takes no part, or a warp operation whose mask does not name its caller.
    Shuffle,
    /// A store to constant or parameter space.
    ReadOnly,
    /// A warp operation, such as a matrix product, that not all lanes execute.
    Convergence,
    /// `trap`
    Trap,
    /// A device-side `assert` that failed.
    Assert,
    /// No thread can go on, or the launch ran into its limit of instructions.
    Stuck,
    /// Something the emulator cannot execute, which loading did not see.
    Unsupported,
}

/// One fault: where it happened and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// The kernel launched.
    pub kernel: String,
    /// Line in the module's PTX text, from 1.
    pub line: u32,
    /// That line.
    pub text: String,
    /// The block's index in the grid.
    pub block: [u32; 3],
    /// The warp within the block.
    pub warp: u32,
    /// The lane within the warp: the lowest one concerned.
    pub lane: u32,
    /// That thread's index in its block.
    pub thread: [u32; 3],
    /// The address concerned, if any.
    pub address: Option<u64>,
    /// The sentence: what was found, and the allocation or the other thread concerned.
    pub what: String,
}

impl Fault {
    /// The host cannot hold what a launch needs.
    pub fn no_memory(kernel: &str) -> Fault {
        Fault {
            kind: FaultKind::Unsupported,
            kernel: kernel.into(),
            line: 1,
            text: String::new(),
            block: [0; 3],
            warp: 0,
            lane: 0,
            thread: [0; 3],
            address: None,
            what: "the host has no memory left for this launch".into(),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([x, y, z], [i, j, k]) = (self.block, self.thread);
        write!(
            f,
            "{}, kernel {}, PTX line {} (`{}`), block ({x}, {y}, {z}), warp {}, lane {}, thread ({i}, {j}, {k})",
            self.what,
            self.kernel,
            self.line,
            self.text.trim(),
            self.warp,
            self.lane
        )
    }
}

impl std::error::Error for Fault {}
