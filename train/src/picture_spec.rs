//! What a picture is made into for a net, and what the net's classes are called: kept in checkpoints, so that one file is enough to
//! classify pictures with.

use rewind::data::{Dataset, IMAGE, Normalise};
use rewind::error::Result;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::config::{NormaliseBy, SIDE_MAX};
use crate::{cifar, synthetic};

/// The side of MNIST's images.
const MNIST: usize = 28;

/// How the net of a checkpoint sees a picture, and what it can take it for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureSpec {
    /// Rows and columns of an image.
    pub side: usize,
    /// What is subtracted from each colour, 0 to 1.
    pub mean: [f32; 3],
    /// What each colour is divided by then.
    pub std: [f32; 3],
    /// The name of each class, in the order of the labels; its number where it has no name.
    pub classes: Vec<String>,
}

impl PictureSpec {
    /// That of a data set whose classes have these names; where there are none, those that are known by the name of the set.
    pub fn of(dataset: &Dataset, names: &[String]) -> Self {
        let classes = match names.len() == dataset.classes {
            true => names.to_vec(),
            false => known_names(&dataset.name, dataset.classes),
        };
        let Normalise { mean, std } = dataset.normalise;
        Self { side: dataset.side(), mean, std, classes }
    }

    /// That of a checkpoint. One that was written before checkpoints held it is known by its settings, and its classes by their numbers.
    ///
    /// # Errors
    /// [`rewind::Error::Checkpoint`] if neither tells, or what it holds cannot be.
    pub fn held_by(checkpoint: &Checkpoint) -> Result<Self> {
        let Some(&[classes]) = checkpoint.shape("head.bias") else {
            return Err(checkpoint.error("it holds no tensor head.bias: use another checkpoint".into()));
        };
        let Some(held) = &checkpoint.state().pictures else { return Self::of_settings(checkpoint, classes) };
        match held.problem(classes) {
            Some(problem) => Err(checkpoint.error(format!("{problem}: use another checkpoint"))),
            None => Ok(held.clone()),
        }
    }

    fn of_settings(checkpoint: &Checkpoint, classes: usize) -> Result<Self> {
        let state = checkpoint.state();
        let name = state.dataset.name.as_str();
        let (image, by) = (state.config.image, state.config.normalise);
        let normalise = match (image, by, name) {
            (Some(_), Some(NormaliseBy::Imagenet) | None, _) => Some(Normalise::IMAGENET),
            (Some(_), Some(NormaliseBy::Cifar10), _) | (None, None, "cifar-10" | synthetic::NAME) => {
                Some(Normalise::CIFAR_10)
            }
            (None, None, "cifar-100") => Some(Normalise::CIFAR_100),
            _ => None,
        };
        let Some(Normalise { mean, std }) = normalise else {
            let problem = "an older version wrote it, which kept no mean and deviation of the pictures: go on with its run for an epoch \
                (--resume, --epochs), and they are kept";
            return Err(checkpoint.error(problem.into()));
        };
        let side = image.unwrap_or(if name == "mnist" { MNIST } else { IMAGE });
        Ok(Self { side, mean, std, classes: known_names(name, classes) })
    }

    /// What cannot be, for a net of so many classes.
    fn problem(&self, classes: usize) -> Option<String> {
        let Self { side, mean, std, classes: names } = self;
        let usual = |value: &f32| value.is_finite() && *value > 0.0;
        if names.len() != classes {
            return Some(format!("it names {} classes and its net knows {classes}", names.len()));
        }
        if !(1..=SIDE_MAX).contains(side) {
            return Some(format!("it says that its images have {side} rows, and they have 1 to {SIDE_MAX}"));
        }
        let makes_numbers = mean.iter().all(|value| value.is_finite()) && std.iter().all(usual);
        (!makes_numbers).then(|| format!("its pictures' mean {mean:?} and deviation {std:?} make no numbers"))
    }

    /// How bytes become numbers.
    pub fn normalise(&self) -> Normalise {
        Normalise { mean: self.mean, std: self.std }
    }
}

/// The names of a set's classes where the program knows them, else their numbers.
fn known_names(set: &str, classes: usize) -> Vec<String> {
    let known: Vec<&str> = match set {
        "cifar-10" => cifar::NAMES_10.into(),
        "cifar-100" => cifar::NAMES_100.split_whitespace().collect(),
        synthetic::NAME => synthetic::CLASSES.into(),
        _ => Vec::new(),
    };
    match known.len() == classes {
        true => known.iter().map(|name| name.to_string()).collect(),
        false => (0..classes).map(|class| class.to_string()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use rewind::data::Split;

    use super::*;

    fn dataset(name: &str, classes: usize) -> Dataset {
        let split = Split::with_capacity(20, 0);
        let (name, normalise) = (name.into(), Normalise::IMAGENET);
        Dataset { name, classes, normalise, train: split.clone(), test: split, fingerprint: None, part_of: None }
    }

    #[test]
    fn classes_have_their_names_or_their_numbers() {
        let names = |name, given: &[&str]| {
            let given: Vec<String> = given.iter().map(|name| name.to_string()).collect();
            PictureSpec::of(&dataset(name, 10), &given).classes.join(" ")
        };
        assert_eq!(names("digits", &[]), "0 1 2 3 4 5 6 7 8 9");
        assert_eq!(names("cifar-10", &[]), "airplane automobile bird cat deer dog frog horse ship truck");
        assert_eq!(names("cifar-10", &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]), "a b c d e f g h i j");
        assert!(names("synthetic", &[]).starts_with("horizontal stripes"));
        let of_100 = PictureSpec::of(&dataset("cifar-100", 100), &[]).classes;
        assert!(of_100.len() == 100 && of_100.is_sorted_by(|a, b| a < b), "{of_100:?}");
        assert_eq!([&of_100[0], &of_100[41], &of_100[99]], ["apple", "lawn_mower", "worm"]);
    }

    #[test]
    fn what_cannot_be_is_told_and_json_keeps_every_bit() {
        let good = PictureSpec::of(&dataset("a", 3), &[]);
        assert_eq!(good.problem(3), None);
        assert!(good.problem(4).unwrap().contains("names 3 classes and its net knows 4"));
        let bad = [
            PictureSpec { side: 0, ..good.clone() },
            PictureSpec { side: usize::MAX, ..good.clone() },
            PictureSpec { std: [1.0, 0.0, 1.0], ..good.clone() },
            PictureSpec { mean: [f32::INFINITY; 3], ..good.clone() },
        ];
        assert!(bad.iter().all(|spec| spec.problem(3).is_some()));
        let odd = PictureSpec { mean: [0.1 + 0.2, 1e-40, 1.0 / 3.0], classes: vec!["é \"\n".into()], ..good };
        let read: PictureSpec = serde_json::from_str(&serde_json::to_string(&odd).unwrap()).unwrap();
        assert_eq!(read, odd);
    }
}
