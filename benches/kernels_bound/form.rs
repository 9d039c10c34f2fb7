//! How a block is launched, and how the way back finds its state.

/// How the block is launched.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Chained,
    Cooperative,
    /// [`RUN`] blocks in one launch each way.
    Run,
}

/// Blocks of a run.
pub const RUN: usize = 8;

impl Form {
    pub const ALL: [Form; 3] = [Form::Chained, Form::Cooperative, Form::Run];

    pub fn name(self) -> &'static str {
        match self {
            Form::Chained => "chained",
            Form::Cooperative => "cooperative",
            Form::Run => "run_of_8",
        }
    }

    /// Blocks of what is launched.
    pub const fn blocks(self) -> usize {
        match self {
            Form::Chained | Form::Cooperative => 1,
            Form::Run => RUN,
        }
    }
}

/// How the way back finds the block's state.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    Reconstructed,
    Coded,
    /// It was stored, with all that its gradient needs.
    Stored,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Reconstructed => "reconstructed",
            Way::Coded => "coded",
            Way::Stored => "stored",
        }
    }

    /// Evaluations' worth of multiply-adds: one forward, none to two and a VJP of two backward.
    pub fn evaluations(self) -> u64 {
        match self {
            Way::Reconstructed => 5,
            Way::Coded => 4,
            Way::Stored => 3,
        }
    }
}
