//! An SVG as a PNG: for readers that show no SVG.
//!
//! Texts are drawn in a font that is part of the program, so that a machine without fonts makes the same picture.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

/// Pixels of the PNG for one of the SVG, along each side: small text stays sharp on a dense screen.
const SCALE: f32 = 2.0;

/// The PNG's bytes.
///
/// # Errors
/// If the text is no SVG or its picture does not fit into memory.
pub fn png(svg: &str) -> Result<Vec<u8>, String> {
    let mut fonts = Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let options = Options { fontdb: Arc::new(fonts), font_family: "DejaVu Sans".into(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|e| format!("the SVG cannot be read: {e}"))?;
    let size = tree.size();
    let (width, height) = ((size.width() * SCALE).ceil() as u32, (size.height() * SCALE).ceil() as u32);
    let mut pixels = Pixmap::new(width, height).ok_or_else(|| format!("no room for {width} x {height} pixels"))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| format!("the PNG cannot be written: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(inner: &str) -> Pixmap {
        let svg = format!(r#"<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20">{inner}</svg>"#);
        Pixmap::decode_png(&png(&svg).unwrap()).unwrap()
    }

    #[test]
    fn text_leaves_ink_without_the_systems_fonts() {
        let text = drawn(r#"<text x="2" y="15" font-family="sans-serif" font-size="12">depth</text>"#);
        assert_eq!((text.width(), text.height()), (120, 40));
        let ink = text.pixels().iter().filter(|pixel| pixel.alpha() > 0).count();
        // five letters of some 6 x 9 pixels, at twice the size, a third of them black
        assert!(ink > 200, "{ink} pixels");
        assert!(drawn("").pixels().iter().all(|pixel| pixel.alpha() == 0));
    }

    #[test]
    fn what_is_no_svg_is_refused() {
        assert!(png("no picture").unwrap_err().starts_with("the SVG cannot be read"));
    }
}
