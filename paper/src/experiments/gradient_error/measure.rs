//! Every mode's gradient of one batch, and exact backprop's.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use rewind::code::CodedPass;
use rewind::data::{Dataset, EpochSpec, Place, image_len};
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::field::{Basic, Bottleneck, Field};
use rewind::memory::human;
use rewind::net::Net;
use rewind::reference::Reference;
use rewind::sweep::{Gradient, SweepSpec};
use rewind_train::config::Block;
use rewind_train::host_memory::Room;

use super::cell::{GradientSpec, Precision};
use super::errors::{Altered, Measured, ModeErrors, TrainedTo, compare};
use super::weights::Origin;
use crate::distance::{bounded, distance};
use crate::gradients::{Gradient64, Gradients, gradients};
use crate::method::Method;
use crate::training::no_experiment;

impl GradientSpec {
    /// Every mode's distance from backprop, in f32 on `device`; none if it was told to stop.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no room to store backprop's activations; whatever the device reports.
    pub fn run<D: Device<Real = f32>>(
        &self,
        device: &D,
        dataset: &Dataset,
        origin: Origin<'_>,
        stop: &AtomicBool,
    ) -> Result<Option<Measured>> {
        match self.block {
            Block::Basic => self.run_field::<D, Basic>(device, dataset, origin, stop),
            Block::Bottleneck => self.run_field::<D, Bottleneck>(device, dataset, origin, stop),
            Block::PreActivation => Err(no_experiment()),
        }
    }

    fn run_field<D: Device<Real = f32>, F: Field<D> + Field<Reference>>(
        &self,
        device: &D,
        dataset: &Dataset,
        origin: Origin<'_>,
        stop: &AtomicBool,
    ) -> Result<Option<Measured>> {
        let (images, labels) = self.images(dataset);
        let batch = Batch { spec: self, classes: dataset.classes, origin, images: &images, labels: &labels };
        let errors = match self.precision {
            Precision::F32 => device.install(|| {
                let (exact, _) = batch.gradients::<D, F>(device, self.sweep(Method::Backprop))?;
                let errors = |mode: &Method| batch.errors::<D, F>(device, *mode, &exact, stop);
                self.modes.iter().map(errors).collect::<Result<Option<Vec<_>>>>()
            }),
            // the reference computes on one thread, so the modes share the machine
            Precision::F64 => device.install(|| {
                let (exact, _) = batch.gradients::<_, F>(&Reference, self.sweep(Method::Backprop))?;
                let errors = |mode: &Method| batch.errors::<_, F>(&Reference, *mode, &exact, stop);
                let all: Option<Vec<_>> = self.modes.par_iter().map(errors).collect::<Result<_>>()?;
                let Some(mut all) = all else { return Ok(None) };
                let (single, drift) = batch.gradients::<D, F>(device, self.sweep(Method::Backprop))?;
                all.push(compare(Method::Backprop, &single, &exact, drift));
                Ok(Some(all))
            }),
        };
        let training = match origin {
            Origin::Drawn(..) => None,
            Origin::Held(checkpoint) => {
                let progress = &checkpoint.state().progress;
                let test_error = progress.history.last().map(|row| 1.0 - row.test_accuracy);
                Some(TrainedTo { epochs: progress.epoch, test_error })
            }
        };
        Ok(errors?.map(|errors| Measured { errors, training }))
    }

    /// The first batch of the seed's first epoch, cropped and mirrored as in training.
    fn images(&self, dataset: &Dataset) -> (Vec<f32>, Vec<f32>) {
        let mut places = vec![Place::default(); dataset.train.len()];
        EpochSpec { seed: self.seed, augment: true }.draw(0, &mut places);
        let (len, normaliser) = (image_len(dataset.side()), dataset.normaliser());
        let mut images = vec![0.0; self.batch * len];
        let places = &places[..self.batch];
        for (place, image) in places.iter().zip(images.chunks_exact_mut(len)) {
            normaliser.augment(dataset.train.image(place.index as usize), place.change(), image);
        }
        let labels = places.iter().map(|place| f32::from(dataset.train.labels[place.index as usize])).collect();
        (images, labels)
    }
}

struct Batch<'a> {
    spec: &'a GradientSpec,
    classes: usize,
    origin: Origin<'a>,
    images: &'a [f32],
    labels: &'a [f32],
}

impl Batch<'_> {
    fn errors<D: Device, F: Field<D>>(
        &self,
        d: &D,
        mode: Method,
        exact: &[Gradient64],
        stop: &AtomicBool,
    ) -> Result<Option<ModeErrors>> {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let sweep = self.spec.sweep(mode);
        let (found, drift) = self.gradients::<D, F>(d, sweep)?;
        let altered =
            if sweep.gradient == Gradient::Coded { Some(self.altered::<D, F>(d, sweep, exact)?) } else { None };
        Ok(Some(ModeErrors { altered, ..compare(mode, &found, exact, drift) }))
    }

    fn altered<D: Device, F: Field<D>>(&self, d: &D, sweep: SweepSpec, exact: &[Gradient64]) -> Result<Altered> {
        let sweep = SweepSpec { coded_pass: CodedPass::Altered, ..sweep };
        let (found, drift) = self.gradients::<D, F>(d, sweep)?;
        // every state is stored, so that none is got back from another one that was
        let (own, of_stored) = self.gradients::<D, F>(d, SweepSpec { anchors: Some(1), ..sweep })?;
        let [own, error] = [&own[..], exact].map(|other| distance(&found, other).0);
        Ok(Altered { own, error: bounded(error), drift: drift.stem, step_drift: of_stored.anchors })
    }

    fn gradients<D: Device, F: Field<D>>(&self, d: &D, sweep: SweepSpec) -> Result<Gradients> {
        let spec = self.spec.net(sweep, self.classes);
        let planned = Net::<D, F>::plan(d, &spec)?.total();
        if let Some(Room { bytes, says }) = Room::of(d).filter(|room| planned > room.bytes) {
            let (planned, available) = (human(planned), human(bytes));
            let (depth, gradient) = (self.spec.depth, sweep.gradient);
            return Err(Error::Usage(format!(
                "gradients of {gradient} at depth {depth} need {planned} and {says} {available}: lower --batch"
            )));
        }
        let mut net = self.origin.net::<D, F>(d, spec)?;
        gradients(d, &mut net, self.images, self.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::modes;
    use super::super::weights::Weights;
    use super::*;
    use rewind::cpu::Cpu;
    use rewind::init::Init;
    use rewind::net::{Body, Stem};
    use rewind::scheme::{Scheme, StepSize};
    use rewind::sweep::{BnStatistics, Masks};
    use rewind_train::synthetic;

    fn spec(scheme: Scheme, precision: Precision) -> GradientSpec {
        GradientSpec {
            depth: 8,
            scheme,
            weights: Weights::Random,
            source: serde_json::Value::Null,
            bn_stats: BnStatistics::Saved,
            masks: Masks::Recomputed,
            precision,
            modes: modes(),
            device: String::new(),
            seed: 1,
            batch: 8,
            channels: 4,
            stem: Stem::Strided5x5,
            step_size: StepSize::OverDepth,
            block: Block::Basic,
            body: Body::default(),
            data: String::new(),
            training_work: 0.0,
        }
    }

    fn measured(spec: &GradientSpec) -> Measured {
        let (cpu, dataset) = (Cpu::new(Some(1)).expect("cpu"), synthetic::generate(0));
        let origin = Origin::Drawn(Init::Paper, spec.seed);
        spec.run(&cpu, &dataset, origin, &AtomicBool::new(false)).expect("gradients").expect("nobody stops it")
    }

    #[test]
    fn errors_fall_with_passes_and_both_precisions_agree() {
        let run =
            |precision| measured(&GradientSpec { modes: Method::APPROXIMATE.into(), ..spec(Scheme::Euler, precision) });
        let (f32s, f64s) = (run(Precision::F32), run(Precision::F64));
        for (a, b) in f32s.errors.iter().zip(&f64s.errors) {
            // a ReLU's input may round to the other side of 0; the errors themselves are 1e-3 and more
            assert!(a.mode == b.mode && (a.error - b.error).abs() < 0.02 * b.error + 1e-4, "{a:?} {b:?}");
            assert_eq!(b.blocks.len(), 8);
        }
        let error = |mode| f64s.of(mode).expect("compared").error;
        assert!(error(Method::Corrected) < error(Method::Adjoint));
        assert!(
            error(Method::FixedPoint2) < error(Method::FixedPoint1)
                && error(Method::FixedPoint1) < error(Method::Adjoint)
        );
        assert!(
            error(Method::FixedPoint3) < error(Method::FixedPoint2)
                && error(Method::AnchorsEach) < error(Method::Adjoint)
        );
        // rounding is there, and far below every error
        assert!(
            error(Method::Backprop) > 1e-9 && error(Method::Backprop) < 1e-3 * error(Method::FixedPoint3),
            "{f64s:?}"
        );
        assert_eq!(f32s.of(Method::Backprop), None);
    }
    #[test]
    fn codes_are_exact_for_the_pass_that_they_alter_and_near_the_plain_one_with_bits() {
        let both = |scheme| [(scheme, Precision::F32), (scheme, Precision::F64)];
        for (scheme, precision) in [Scheme::Euler, Scheme::Heun].into_iter().flat_map(both) {
            let measured = measured(&GradientSpec { modes: Method::CODED.into(), ..spec(scheme, precision) });
            let of = |mode| measured.of(mode).expect("measured");
            let altered = |mode| of(mode).altered.expect("it codes");
            // sums of multiples of the grid's unit are exact in f32; those of f64 round, and conditioning multiplies that by less
            // than ten thousand here
            let rounding = if precision == Precision::F32 { 0.0 } else { 1e-12 };
            for altered in Method::CODED.map(altered) {
                assert!(altered.own <= rounding, "{scheme} {altered:?}");
                // the states are the forward pass's own, from x_N alone and from each true next one
                let drifts = [altered.drift, altered.step_drift];
                assert!(
                    drifts.iter().all(|drift| drift.is_some_and(|drift| drift <= rounding)),
                    "{scheme} {altered:?}"
                );
            }
            let plain = Method::CODED.map(|mode| of(mode).error);
            for errors in [plain, Method::CODED.map(|mode| altered(mode).error)] {
                // random weights with gamma 1: one bit of an increment says little
                let falls = errors[0] > errors[2] && errors[1] > errors[2] && errors[2] > errors[3] && errors[3] > 1e-4;
                assert!(falls, "{scheme} {errors:?}");
            }
            // no carry is left at x_0; thousands of numbers of f32 round
            assert!(of(Method::Coded2).drift.is_some_and(|drift| drift < 1e-5), "{scheme} {measured:?}");
        }
    }
}
