//! How a block is launched, and how the way back finds its state.

/// How the block is launched.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Chained,
    Cooperative,
}

impl Form {
    pub const ALL: [Form; 2] = [Form::Chained, Form::Cooperative];

    pub fn name(self) -> &'static str {
        match self {
            Form::Chained => "chained",
            Form::Cooperative => "cooperative",
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
