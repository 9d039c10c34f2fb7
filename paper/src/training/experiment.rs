//! An experiment whose cells are training runs: the way from settings to runs, and from runs to results.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rewind::data::Dataset;
use rewind::device::Device;
use rewind::error::Result;
use rewind::memory::Bytes;
use rewind_train::choose::{self, Job, Wanted};
use rewind_train::config::{DeviceChoice, RunConfig};
use rewind_train::log::Log;
use rewind_train::terminal::say;
use serde::{Serialize, Serializer};

use super::cell::Training;
use super::images::Images;
use super::runs::{Runs, Trains};
use crate::cells::{Cell, Cells, Ending};
use crate::options::Common;
use crate::results::Results;

/// A cell, and what its experiment knows of it beside: settings know nothing of series.
pub struct Labelled<L, C> {
    pub label: L,
    pub cell: C,
}

impl<L, C: Cell> Serialize for Labelled<L, C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.cell.serialize(serializer)
    }
}

impl<L, C: Cell> Cell for Labelled<L, C> {
    type Result = C::Result;

    fn key(&self) -> String {
        self.cell.key()
    }

    fn work(&self) -> f64 {
        self.cell.work()
    }
}

impl<L, C: Trains> Trains for Labelled<L, C> {
    fn training(&self) -> &Training {
        self.cell.training()
    }

    fn start(&self) -> Option<&Training> {
        self.cell.start()
    }

    fn train<D: Device<Real = f32>>(
        &self,
        device: &D,
        dataset: &Arc<Dataset>,
        runs: &Runs,
        log: &mut Log,
        stop: &AtomicBool,
    ) -> Result<Option<C::Result>> {
        self.cell.train(device, dataset, runs, log, stop)
    }
}

/// A run before its device is open.
pub struct Planned<L> {
    pub label: L,
    /// What tells it from the experiment's other runs.
    pub key: String,
    pub config: RunConfig,
}

/// An experiment whose cells are training runs.
pub trait Experiment {
    /// That of its folder.
    const NAME: &'static str;
    /// What it knows of a run beside its settings.
    type Label;
    type Cell: Trains;

    /// The cell of a run and its memory plan; runs come in their order.
    fn cell(&mut self, images: &Images, label: Self::Label, training: Training, planned: Bytes) -> Self::Cell;

    /// Writes what the runs so far say together, and gives it as text.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn publish(
        &self,
        images: &Images,
        done: &[(&Self::Cell, <Self::Cell as Cell>::Result)],
        results: &Results,
    ) -> Result<String>;
}

/// What the experiments are told about the machine, and what they are to do it on.
pub struct Setting<'a> {
    pub images: Images,
    pub device: DeviceChoice,
    pub threads: Option<usize>,
    pub common: &'a Common,
    pub stop: &'static AtomicBool,
}

impl Setting<'_> {
    /// Trains everything that is planned and not there yet, and publishes it.
    ///
    /// # Errors
    /// [`Error::Usage`](rewind::error::Error::Usage) if a run makes no sense; whatever training or writing reports.
    pub fn conduct<E: Experiment>(
        self,
        experiment: E,
        planned: Vec<Planned<E::Label>>,
        log: &mut Log,
    ) -> anyhow::Result<Ending> {
        for Planned { config, .. } in &planned {
            config.validate()?;
            config.validate_for_data(self.images.dataset.train.len(), self.images.dataset.side())?;
        }
        let wanted = Wanted::new(self.device, self.threads);
        choose::on_device(wanted, log, OnDevice { setting: self, experiment, planned })
    }
}

struct OnDevice<'a, E: Experiment> {
    setting: Setting<'a>,
    experiment: E,
    planned: Vec<Planned<E::Label>>,
}

impl<E: Experiment> Job for OnDevice<'_, E> {
    type Output = Ending;

    fn on<D: Device<Real = f32>>(self, device: &D, opened: DeviceChoice, log: &mut Log) -> anyhow::Result<Ending> {
        let Self { setting: Setting { images, common, stop, .. }, mut experiment, planned } = self;
        let mut cells = Vec::new();
        for Planned { label, key, config } in planned {
            let config = RunConfig { data: Some(images.origin.clone()), device: opened, ..config };
            let training = Training::new(key, config, images.id.clone())?;
            let planned = training.check_limit(device, &images.dataset)?;
            cells.push(experiment.cell(&images, label, training, planned));
        }
        let folder = common.folder(E::NAME);
        let (runs, results) = (Runs::new(&folder), Results::new(&folder));
        let mut text = String::new();
        let ending = Cells::open(&folder)?.complete(
            &cells,
            log,
            stop,
            |cell| {
                // of its own: each run has its own bar and pace
                let mut log = common.log();
                log.note(&format!("training {}", cell.key()));
                cell.train(device, &images.dataset, &runs, &mut log, stop)
            },
            |done| {
                text = experiment.publish(&images, done, &results)?;
                remove_done(&runs, &cells, done)
            },
        )?;
        say(&(text + &results.written()))?;
        Ok(ending)
    }
}

/// Removes the checkpoints of runs that are done, their cells being kept, but for those from which others have yet to start.
fn remove_done<C: Trains>(runs: &Runs, cells: &[C], done: &[(&C, C::Result)]) -> Result<()> {
    let is_done = |cell: &&C| done.iter().any(|(other, _)| std::ptr::eq(*other, *cell));
    let needed: Vec<String> = cells.iter().filter(|cell| !is_done(cell)).filter_map(C::start).map(Cell::key).collect();
    let trained = done.iter().map(|(cell, _)| cell.training());
    trained.filter(|training| !needed.contains(&training.key())).try_for_each(|training| runs.remove(training))
}
