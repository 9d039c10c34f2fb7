//! What a net takes the test images for, one by one: which classes it confuses, how good it is at each, and which images it gets most
//! wrong.

mod matrix;
mod tables;
mod worst;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rewind::error::{Error, Result};

use self::worst::{WORST, Worst};
use crate::folder::RunFolder;
use crate::softmax::Softmax;

/// Up to so many classes their confusion is drawn; of more, the pairs that are confused most are listed.
const DRAWN: usize = 50;
/// Up to so many classes the whole matrix is a table.
const TABLED: usize = 1000;

/// The answers to the test images so far.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The names of the classes, in the order of the labels.
    classes: Vec<String>,
    side: usize,
    /// How many images of the first class were taken for the second; those that never happened are not there.
    counts: BTreeMap<(usize, usize), u64>,
    images: u64,
    /// Images of the largest loss, the largest first.
    worst: Vec<Worst>,
}

/// How a class fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fate {
    /// Images of the class.
    images: u64,
    /// Those that were taken for it.
    correct: u64,
    /// Images of any class that were taken for it.
    answers: u64,
}

impl Answers {
    /// None yet, to images of `side` rows and columns.
    pub fn new(classes: Vec<String>, side: usize) -> Self {
        Self { classes, side, counts: BTreeMap::new(), images: 0, worst: Vec::with_capacity(WORST + 1) }
    }

    /// Adds the answer to the next image, which is of class `label`.
    ///
    /// # Panics
    /// If there is no such class, or another number of logits.
    pub fn add(&mut self, logits: &[f32], label: u16, pixels: &[u8]) {
        assert_eq!(logits.len(), self.classes.len(), "a logit for each class");
        let (softmax, class) = (Softmax::of(logits), usize::from(label));
        *self.counts.entry((class, softmax.best)).or_default() += 1;
        let (index, loss) = (self.images as usize, softmax.loss(logits[class]));
        self.images += 1;
        let place = self.worst.partition_point(|other| other.loss >= loss);
        if place < WORST {
            self.worst.insert(place, Worst::new(index, class, softmax.best, loss, pixels, self.side));
            self.worst.truncate(WORST);
        }
    }

    /// Images that were answered.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Those that were answered rightly.
    pub fn correct(&self) -> u64 {
        self.counts.iter().filter(|((class, answer), _)| class == answer).map(|(_, n)| n).sum()
    }

    /// How each class fared.
    fn fates(&self) -> Vec<Fate> {
        let mut fates = vec![Fate::default(); self.classes.len()];
        for (&(class, answer), &n) in &self.counts {
            fates[class].images += n;
            fates[answer].answers += n;
            if class == answer {
                fates[class].correct += n;
            }
        }
        fates
    }

    /// The pairs of classes that are confused most, at most `most`: class, answer, images. Of equals the first class comes first.
    fn confused(&self, most: usize) -> Vec<(usize, usize, u64)> {
        let wrong = self.counts.iter().filter(|((class, answer), _)| class != answer);
        let mut pairs: Vec<_> = wrong.map(|(&(class, answer), &n)| (class, answer, n)).collect();
        pairs.sort_by_key(|&(.., n)| std::cmp::Reverse(n));
        pairs.truncate(most);
        pairs
    }

    /// Writes the tables and the pictures into a run's folder. `title` names the run; `files` are those of the test images, if they have
    /// any. The table of classes comes last: where it is, all are.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be written; the former one is then as it was.
    pub fn write(&self, folder: &RunFolder, title: &str, files: &[PathBuf]) -> Result<()> {
        let classes = self.classes.len();
        if classes <= TABLED {
            self.write_confusion(&folder.confusion())?;
        }
        match classes <= DRAWN {
            true => self.draw_confusion(&folder.confusion_picture(), title)?,
            false => self.write_confused(&folder.confused())?,
        }
        self.write_worst(&folder.worst(), files)?;
        self.draw_worst(&folder.worst_picture())?;
        self.write_classes(&folder.classes())
    }

    fn name(&self, class: usize) -> &str {
        &self.classes[class]
    }
}

/// A table, row by row.
fn write_rows(path: &std::path::Path, rows: impl Iterator<Item = Vec<String>>) -> Result<()> {
    crate::atomic::write_atomically(path, |file| {
        let mut table = csv::Writer::from_writer(file);
        for row in rows {
            table.write_record(row)?;
        }
        table.flush()
    })
    .map(drop)
}

/// What went wrong in drawing.
fn undrawn(path: &std::path::Path, problem: impl ToString) -> Error {
    Error::io("draw", path)(std::io::Error::other(problem.to_string()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Answers of `classes` classes to images of 4 x 4: image n is of class n mod classes, and every third is taken for the next one.
    pub(crate) fn answers(classes: usize, images: usize) -> Answers {
        let names = (0..classes).map(|class| format!("class <{class}>")).collect();
        let mut answers = Answers::new(names, 4);
        for n in 0..images {
            let (label, pixels) = (n % classes, [(n % 251) as u8; 48]);
            let answer = if n % 3 == 0 { (label + 1) % classes } else { label };
            let logits: Vec<f32> =
                (0..classes).map(|k| if k == answer { 1.0 + n as f32 / 64.0 } else { 0.0 }).collect();
            answers.add(&logits, label as u16, &pixels);
        }
        answers
    }

    #[test]
    fn counts_add_up_and_the_worst_come_in_order() {
        let answers = answers(5, 300);
        assert_eq!((answers.images(), answers.correct()), (300, 200));
        let fates = answers.fates();
        assert_eq!(fates.iter().map(|fate| fate.images).sum::<u64>(), 300);
        assert_eq!(fates.iter().map(|fate| fate.answers).sum::<u64>(), 300);
        assert_eq!(fates.iter().map(|fate| fate.correct).sum::<u64>(), 200);
        assert_eq!(answers.confused(3), [(0, 1, 20), (1, 2, 20), (2, 3, 20)]);
        assert_eq!(answers.confused(99).len(), 5);
        assert_eq!(answers.worst.len(), WORST);
        // the surer a wrong answer, the larger its loss
        assert_eq!(answers.worst[0].index, 297);
        assert!(answers.worst.is_sorted_by(|a, b| a.loss >= b.loss));
    }

    #[test]
    fn the_files_are_those_of_so_many_classes() {
        let place = tempfile::tempdir().unwrap();
        let names = |classes: usize| {
            let folder = RunFolder::claim(Some(&place.path().join(classes.to_string())), "run").unwrap();
            answers(classes, 200).write(&folder, "a & b", &[]).unwrap();
            let files =
                std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let mut files: Vec<_> = files.filter(|name| name != ".lock").collect();
            files.sort();
            files.join(" ")
        };
        assert_eq!(names(3), "classes.csv confusion.csv confusion.svg worst.csv worst.png");
        assert_eq!(names(51), "classes.csv confused.csv confusion.csv worst.csv worst.png");
        assert_eq!(names(1001), "classes.csv confused.csv worst.csv worst.png");
    }
}
