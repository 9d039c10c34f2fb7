//! confusion.csv, classes.csv, confused.csv and worst.csv.

use std::path::{Path, PathBuf};

use rewind::error::Result;

use super::worst::Worst;
use super::{Answers, Fate, write_rows};

/// Pairs of classes in confused.csv.
const PAIRS: usize = 20;

impl Answers {
    /// A row for each class and a column for each answer.
    pub(super) fn write_confusion(&self, path: &Path) -> Result<()> {
        let header = std::iter::once("class".to_string()).chain(self.classes.iter().cloned()).collect();
        let row = |class: usize| {
            let count = |answer| self.counts.get(&(class, answer)).copied().unwrap_or(0).to_string();
            std::iter::once(self.name(class).to_string()).chain((0..self.classes.len()).map(count)).collect()
        };
        write_rows(path, std::iter::once(header).chain((0..self.classes.len()).map(row)))
    }

    /// A row for each class: the part of its images that is recognised, and the part of the images taken for it that are of it.
    pub(super) fn write_classes(&self, path: &Path) -> Result<()> {
        let header =
            ["class", "name", "images", "correct", "accuracy", "answers", "precision"].map(String::from).to_vec();
        let part = |n: u64, of: u64| if of > 0 { (n as f64 / of as f64).to_string() } else { String::new() };
        let row = |(class, fate): (usize, Fate)| {
            let Fate { images, correct, answers } = fate;
            let [number, images_, correct_, answers_] = [class as u64, images, correct, answers].map(|n| n.to_string());
            let (accuracy, precision) = (part(correct, images), part(correct, answers));
            vec![number, self.name(class).into(), images_, correct_, accuracy, answers_, precision]
        };
        write_rows(path, std::iter::once(header).chain(self.fates().into_iter().enumerate().map(row)))
    }

    /// The pairs of classes that are confused most.
    pub(super) fn write_confused(&self, path: &Path) -> Result<()> {
        let header = ["class", "answer", "images", "part_of_class"].map(String::from).to_vec();
        let fates = self.fates();
        let row = |(class, answer, n): (usize, usize, u64)| {
            let part = n as f64 / fates[class].images as f64;
            vec![self.name(class).into(), self.name(answer).into(), n.to_string(), part.to_string()]
        };
        write_rows(path, std::iter::once(header).chain(self.confused(PAIRS).into_iter().map(row)))
    }

    /// The images of the largest loss, in the order of the picture of them.
    pub(super) fn write_worst(&self, path: &Path, files: &[PathBuf]) -> Result<()> {
        let header =
            ["row", "column", "image", "file", "class", "answer", "loss", "probability"].map(String::from).to_vec();
        let columns = self.columns();
        let row = |(place, worst): (usize, &Worst)| {
            let Worst { index, class, answer, loss, .. } = *worst;
            let file = files.get(index).map_or(String::new(), |file| file.display().to_string());
            let [row, column, index] = [1 + place / columns, 1 + place % columns, index].map(|n| n.to_string());
            let (class, answer) = (self.name(class).to_string(), self.name(answer).to_string());
            vec![row, column, index, file, class, answer, loss.to_string(), (-loss).exp().to_string()]
        };
        write_rows(path, std::iter::once(header).chain(self.worst.iter().enumerate().map(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::answers;
    use super::*;

    fn written(write: impl FnOnce(&Path) -> Result<()>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        write(&path).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn tables_say_what_was_taken_for_what() {
        let two = answers(2, 12);
        let expected = "class,class <0>,class <1>\nclass <0>,4,2\nclass <1>,2,4\n";
        assert_eq!(written(|path| two.write_confusion(path)), expected);
        let text = written(|path| two.write_classes(path));
        assert_eq!(text.lines().next(), Some("class,name,images,correct,accuracy,answers,precision"));
        assert_eq!(text.lines().nth(2), Some("1,class <1>,6,4,0.6666666666666666,6,0.6666666666666666"));
        let expected = "class,answer,images,part_of_class\nclass <0>,class <1>,2,0.3333333333333333\nclass <1>,class <0>,2,0.3333333333333333\n";
        assert_eq!(written(|path| two.write_confused(path)), expected);
        let files: Vec<PathBuf> = (0..12).map(|n| format!("val/{n}.png").into()).collect();
        let text = written(|path| two.write_worst(path, &files));
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 13);
        assert!(rows[1].starts_with("1,1,9,val/9.png,class <1>,class <0>,1.41"), "{text}");
        assert!(rows[5].starts_with("2,1,"), "{text}");
    }

    #[test]
    fn a_class_without_images_has_no_accuracy() {
        let text = written(|path| answers(5, 2).write_classes(path));
        assert_eq!(text.lines().nth(5), Some("4,class <4>,0,0,,0,"));
    }
}
