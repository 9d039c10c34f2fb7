//! Versions: of CUDA as the driver counts them, of PTX, and the drivers that go with them.

use std::fmt;

/// A CUDA version as `cuDriverGetVersion` tells it: 1000 major + 10 minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CudaVersion(pub i32);

impl CudaVersion {
    /// A version by its two numbers.
    pub const fn new(major: i32, minor: i32) -> Self {
        Self(1000 * major + 10 * minor)
    }

    /// The first CUDA whose drivers read this version of PTX (PTX ISA, release history).
    pub fn of_ptx(major: i32, minor: i32) -> Self {
        match (major, minor) {
            // CUDA 12.6 brought no new PTX
            (8, 6..) => Self::new(12, minor + 1),
            _ => Self::new(major + 4, minor),
        }
    }

    /// The version of a PTX file, from its `.version` line.
    pub fn of_ptx_text(ptx: &str) -> Option<Self> {
        let (_, rest) = ptx.split_once(".version")?;
        let (major, minor) = rest.split_whitespace().next()?.split_once('.')?;
        Some(Self::of_ptx(major.parse().ok()?, minor.parse().ok()?))
    }

    /// The first driver branch that came with it on Linux (CUDA release notes, "CUDA Toolkit and Corresponding Driver
    /// Versions"), as far as this table goes.
    pub fn driver_branch(self) -> Option<u32> {
        const BRANCHES: [(CudaVersion, u32); 20] = [
            (CudaVersion::new(11, 0), 450),
            (CudaVersion::new(11, 1), 455),
            (CudaVersion::new(11, 2), 460),
            (CudaVersion::new(11, 3), 465),
            (CudaVersion::new(11, 4), 470),
            (CudaVersion::new(11, 5), 495),
            (CudaVersion::new(11, 6), 510),
            (CudaVersion::new(11, 7), 515),
            (CudaVersion::new(11, 8), 520),
            (CudaVersion::new(12, 0), 525),
            (CudaVersion::new(12, 1), 530),
            (CudaVersion::new(12, 2), 535),
            (CudaVersion::new(12, 3), 545),
            (CudaVersion::new(12, 4), 550),
            (CudaVersion::new(12, 5), 555),
            (CudaVersion::new(12, 6), 560),
            (CudaVersion::new(12, 8), 570),
            (CudaVersion::new(12, 9), 575),
            (CudaVersion::new(13, 0), 580),
            (CudaVersion::new(13, 1), 590),
        ];
        BRANCHES.iter().find(|(version, _)| *version == self).map(|(_, branch)| *branch)
    }
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 1000, self.0 % 1000 / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptx_tells_the_driver_that_it_needs() {
        // (PTX, CUDA, driver branch)
        for (ptx, cuda, branch) in [
            ("7.0", "11.0", Some(450)),
            ("8.0", "12.0", Some(525)),
            ("8.5", "12.5", Some(555)),
            ("8.6", "12.7", None),
            ("8.8", "12.9", Some(575)),
            ("9.0", "13.0", Some(580)),
            ("9.7", "13.7", None),
        ] {
            let version = CudaVersion::of_ptx_text(&format!("// head\n.version {ptx}\n.target sm_80\n")).expect(ptx);
            assert_eq!((version.to_string().as_str(), version.driver_branch()), (cuda, branch), "PTX {ptx}");
        }
        assert_eq!(CudaVersion::of_ptx_text(".version nine"), None);
        assert!(CudaVersion::new(12, 9) < CudaVersion::new(13, 0));
    }
}
