//! Bytes by purpose: what a plan foresees, and what a ledger counts.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Weights, biases, batch norm's gamma and beta: grow with depth.
    Parameters,
    /// Gradients of the parameters: flat in depth with `--update in-sweep`.
    Gradients,
    /// The optimiser's velocity, and AdamW's second moment: grow with depth.
    Optimiser,
    /// Batch norm's running and saved statistics: grow with depth.
    Statistics,
    /// The state x, its reconstruction, and the cotangent g.
    State,
    /// Intermediates that live within one block's step, and the devices' workspace.
    Scratch,
    /// What a gradient mode stores per block, and what the stem and the head keep for their own backward.
    Saved,
    /// The data set and the batches in flight.
    Data,
}

impl Category {
    /// All categories, in the order of the tables.
    pub const ALL: [Self; 8] = [
        Self::Parameters,
        Self::Gradients,
        Self::Optimiser,
        Self::Statistics,
        Self::State,
        Self::Scratch,
        Self::Saved,
        Self::Data,
    ];

    /// Whether the bytes are activations: state, scratch and saved, the ones that memory-free training keeps flat.
    pub const fn is_activation(self) -> bool {
        matches!(self, Self::State | Self::Scratch | Self::Saved)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Parameters => "parameters",
            Self::Gradients => "gradients",
            Self::Optimiser => "optimiser",
            Self::Statistics => "statistics",
            Self::State => "state",
            Self::Scratch => "scratch",
            Self::Saved => "saved",
            Self::Data => "data",
        })
    }
}

/// Bytes by category: a plan (what will be taken) or a ledger (what was taken).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(BTreeMap<Category, u64>);

impl Bytes {
    /// Adds bytes to a category.
    pub fn charge(&mut self, category: Category, bytes: u64) {
        *self.0.entry(category).or_default() += bytes;
    }

    /// Bytes of one category.
    pub fn of(&self, category: Category) -> u64 {
        self.0.get(&category).copied().unwrap_or(0)
    }

    /// Bytes of all categories.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// A line per category, then the activations' sum and the total.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut line = |name: &str, bytes: u64| {
            // writing to a string cannot fail
            let _ = writeln!(table, "  {name:<24}{bytes:>16} bytes {:>12}", human(bytes));
        };
        for category in Category::ALL {
            line(&category.to_string(), self.of(category));
        }
        line("total", self.total());
        line("of which activations", self.activations());
        table
    }

    /// Bytes of activations: state + scratch + saved.
    pub fn activations(&self) -> u64 {
        Category::ALL.into_iter().filter(|c| c.is_activation()).map(|c| self.of(c)).sum()
    }
}

/// Every buffer starts on a multiple of this many bytes: one cache line, one AVX-512 register.
pub const ALIGN_BYTES: usize = 64;

/// Bytes that a buffer of `len` elements takes in the arena.
pub const fn padded_bytes<R>(len: usize) -> u64 {
    (len * size_of::<R>()).next_multiple_of(ALIGN_BYTES) as u64
}

/// Bytes as a person reads them: `12.3 MiB`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Reads a size such as `512MiB`, `2GiB`, `1.5 GB` or `1000000`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let expected = || format!("{text:?} is not a size: write for instance 512MiB, 2GiB or 1000000");
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let value: f64 = text[..digits].parse().map_err(|_| expected())?;
    let factor: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(expected()),
    };
    Ok((value * factor as f64) as u64)
}
