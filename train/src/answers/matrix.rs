//! confusion.svg: a square for each pair of classes, the darker the more images of the one were taken for the other.

use std::io::Write;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use rewind::error::Result;

use super::{Answers, undrawn};
use crate::atomic::write_atomically;
use crate::chart::{BLUE, Drawn};

/// Up to so many classes each square has its number.
const NUMBERED: usize = 20;
/// Characters of a name that are shown.
const NAME: usize = 20;
/// Pixels of a character of a name.
const CHARACTER: usize = 8;
/// Pixels above the squares and at their other sides.
const TITLE: i32 = 58;
const MARGIN: i32 = 16;
/// Pixels of an axis's description.
const AXIS: i32 = 24;

impl Answers {
    /// Draws the matrix. `title` names the run.
    pub(super) fn draw_confusion(&self, path: &Path, title: &str) -> Result<()> {
        let mut svg = String::new();
        self.draw_on(&mut svg, title).map_err(|e| undrawn(path, e))?;
        write_atomically(path, |file| file.write_all(svg.as_bytes())).map(drop)
    }

    fn draw_on<'a>(&self, svg: &'a mut String, title: &str) -> Drawn<'a> {
        let classes = self.classes.len();
        let names: Vec<String> = self.classes.iter().map(|name| shown(name)).collect();
        let cell = (800 / classes).clamp(16, 64) as i32;
        let room = (CHARACTER * names.iter().map(|name| name.chars().count()).max().unwrap_or(0)) as i32 + 8;
        let (left, side) = (MARGIN + AXIS + room, cell * classes as i32);
        let (right, bottom) = (left + side, TITLE + side);
        // a title is longer than few squares
        let width = (right + MARGIN).max(MARGIN * 2 + (CHARACTER * title.chars().count()) as i32);
        let size = (width as u32, (bottom + room + AXIS + MARGIN) as u32);
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let text = |size: i32, colour: &'static RGBColor, x, y| {
            TextStyle::from(("sans-serif", size).into_font()).color(colour).pos(Pos::new(x, y))
        };
        let part = self.correct() as f64 / self.images.max(1) as f64;
        let heading = format!("{:.2} % of {} test images are recognised", 100.0 * part, self.images);
        root.draw(&Text::new(title.to_string(), (MARGIN, 10), text(18, &BLACK, HPos::Left, VPos::Top)))?;
        root.draw(&Text::new(heading, (MARGIN, 34), text(15, &BLACK, HPos::Left, VPos::Top)))?;
        let fates = self.fates();
        for (&(class, answer), &n) in &self.counts {
            let (x, y) = (left + cell * answer as i32, TITLE + cell * class as i32);
            let share = n as f64 / fates[class].images as f64;
            let square = Rectangle::new([(x, y), (x + cell, y + cell)], shade(share).filled());
            root.draw(&square)?;
            if classes <= NUMBERED {
                let colour = if share > 0.5 { &WHITE } else { &BLACK };
                let middle = (x + cell / 2, y + cell / 2);
                let fits = (cell - 4) / (n.to_string().len() as i32).max(2);
                let style = text((fits * 5 / 3).clamp(8, 15), colour, HPos::Center, VPos::Center);
                root.draw(&Text::new(n.to_string(), middle, style))?;
            }
        }
        let thin = BLACK.mix(0.2);
        for n in 0..=classes as i32 {
            let at = cell * n;
            root.draw(&PathElement::new([(left, TITLE + at), (right, TITLE + at)], thin))?;
            root.draw(&PathElement::new([(left + at, TITLE), (left + at, bottom)], thin))?;
        }
        let letters = (cell - 2).clamp(9, 14);
        for (n, name) in names.into_iter().enumerate() {
            let at = cell * n as i32 + cell / 2;
            let beside = text(letters, &BLACK, HPos::Right, VPos::Center);
            root.draw(&Text::new(name.clone(), (left - 6, TITLE + at), beside))?;
            root.draw(&Text::new(
                name,
                (left + at, bottom + 6),
                upright(text(letters, &BLACK, HPos::Right, VPos::Center)),
            ))?;
        }
        let below = text(15, &BLACK, HPos::Center, VPos::Bottom);
        root.draw(&Text::new("taken for", (left + side / 2, size.1 as i32 - 8), below))?;
        let aside = upright(text(15, &BLACK, HPos::Center, VPos::Top));
        root.draw(&Text::new("class", (8, TITLE + side / 2), aside))?;
        root.present()
    }
}

/// The same text, to be read from below.
fn upright(style: TextStyle<'_>) -> TextStyle<'_> {
    style.transform(FontTransform::Rotate270)
}

/// White at 0, blue at 1.
fn shade(share: f64) -> RGBColor {
    let mix = |to: u8| (255.0 + share * (f64::from(to) - 255.0)).round() as u8;
    RGBColor(mix(BLUE.0), mix(BLUE.1), mix(BLUE.2))
}

/// A name, cut where it is long.
fn shown(name: &str) -> String {
    let printable = |c: char| if c.is_control() { '?' } else { c };
    match name.chars().count() <= NAME {
        true => name.chars().map(printable).collect(),
        false => name.chars().take(NAME - 3).map(printable).chain("...".chars()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::answers;
    use super::*;

    fn drawn(answers: &Answers) -> String {
        let mut svg = String::new();
        answers.draw_on(&mut svg, "birds & bees").unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
        svg
    }

    #[test]
    fn every_class_has_its_name_twice_and_few_classes_their_numbers() {
        for classes in [2, 10, 20, 21, 50] {
            let svg = drawn(&answers(classes, 600));
            assert_eq!(svg.matches("class &lt;1&gt;").count(), 2, "{svg}");
            assert!(
                svg.contains("birds &amp; bees") && svg.contains("66.67 % of 600 test images are recognised"),
                "{svg}"
            );
            let count = (600 / classes * 2 / 3).to_string();
            let numbered = svg.contains(&format!("\n{count}\n"));
            assert_eq!(numbered, classes <= NUMBERED, "{classes} classes: {svg}");
        }
    }

    #[test]
    fn shades_and_names_keep_their_bounds() {
        assert_eq!((shade(0.0), shade(1.0)), (WHITE, BLUE));
        assert_eq!(shown("a name of more than twenty letters"), "a name of more th...");
        assert_eq!(shown("a\nb"), "a?b");
        // no image at all
        drawn(&Answers::new(vec!["a".into(), "b".into()], 4));
    }
}
