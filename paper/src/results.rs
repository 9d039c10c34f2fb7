//! What an experiment leaves beside its cells: tables, a summary, and each picture twice.

use std::io::Write;
use std::path::{Path, PathBuf};

use rewind::error::Result;
use rewind_train::atomic::write_atomically;
use serde_json::Value;

/// The folder of an experiment.
#[derive(Clone, Debug)]
pub struct Results {
    folder: PathBuf,
}

impl Results {
    /// Those in `folder`, which exists.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What an experiment says at the end.
    pub fn written(&self) -> String {
        format!("\ntables, pictures and summary.json are in {}\n", self.folder.display())
    }

    /// A CSV, complete with its header.
    ///
    /// # Errors
    /// [`Error::Io`](rewind::error::Error::Io); the former file is then as it was. So in the others.
    pub fn table(&self, name: &str, csv: &str) -> Result<()> {
        write_atomically(&self.folder.join(format!("{name}.csv")), |w| w.write_all(csv.as_bytes())).map(drop)
    }

    /// `summary.json`.
    ///
    /// # Errors
    /// As [`Results::table`].
    pub fn summary(&self, summary: &Value) -> Result<()> {
        write_atomically(&self.folder.join("summary.json"), |w| writeln!(w, "{summary:#}")).map(drop)
    }

    /// An SVG that was drawn, and the same as a PNG.
    ///
    /// # Errors
    /// As [`Results::table`], and what the drawing reported.
    pub fn picture(&self, name: &str, svg: std::result::Result<String, String>) -> Result<()> {
        let (svg_path, png_path) = (self.folder.join(format!("{name}.svg")), self.folder.join(format!("{name}.png")));
        let failed = |path: &Path, e: String| rewind::error::Error::io("draw", path)(std::io::Error::other(e));
        let svg = svg.map_err(|e| failed(&svg_path, e))?;
        let png = rewind_train::raster::png(&svg).map_err(|e| failed(&png_path, e))?;
        write_atomically(&svg_path, |w| w.write_all(svg.as_bytes()))?;
        write_atomically(&png_path, |w| w.write_all(&png)).map(drop)
    }
}
