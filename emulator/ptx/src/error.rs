//! Why a module was refused, in one sentence each, with the line to look at.

/// What [`Module::parse`](super::Module::parse) refuses a module for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PtxError {
    /// The text is not PTX: a character, number or string that no token starts with or ends.
    #[error("PTX line {line}, column {column}: {what}")]
    Lexical {
        /// Line, from 1.
        line: u32,
        /// Column in bytes, from 1.
        column: u32,
        /// The complaint.
        what: String,
    },

    /// The tokens make no declaration or statement.
    #[error("PTX line {line}, column {column}: {what}")]
    Syntax {
        /// Line, from 1.
        line: u32,
        /// Column in bytes, from 1.
        column: u32,
        /// The complaint.
        what: String,
    },

    /// Well-formed, but a directive, a name or a size that cannot be accepted.
    #[error("PTX line {line}: {what}")]
    Declaration {
        /// Line, from 1.
        line: u32,
        /// The complaint.
        what: String,
    },

    /// An instruction that is unknown, has an unsupported modifier, or operands of a wrong count or type.
    #[error("kernel {kernel}, PTX line {line}: {what}, in `{text}`")]
    Instruction {
        /// The entry or function that holds it.
        kernel: String,
        /// Line of its first token, from 1.
        line: u32,
        /// The instruction as written, white space folded.
        text: String,
        /// The complaint.
        what: String,
    },

    /// A kernel that calls itself, directly or through others.
    #[error("kernel {kernel}, PTX line {line}: `{callee}` is recursive, and recursion is not supported")]
    Recursion {
        /// The function whose call closes the circle.
        kernel: String,
        /// Line of that call.
        line: u32,
        /// The function called.
        callee: String,
    },

    /// Larger than this front end accepts; keeps hostile input from taking the machine's memory.
    #[error("PTX line {line}: {what}")]
    Limit {
        /// Line, from 1.
        line: u32,
        /// What is too large, and the limit.
        what: String,
    },
}

/// The front end's result.
pub(super) type Result<T> = std::result::Result<T, PtxError>;
