//! A deployment as JSON.
//!
//! Must never leave out what is not proven.

use planner::size::{Deployment, Point, Seat};
use serde::Serialize;

use super::{Service, Sizing};

/// The whole answer.
#[derive(Debug, Serialize)]
pub(crate) struct SizeView {
    board: String,
    gpus: usize,
    compute_slices: u64,
    /// Whether there are as many GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpus_available: Option<u32>,
    fits: bool,
    proven: ProvenView,
    measured_on_simulated_gpu: bool,
    services: Vec<ServiceView>,
    layouts: Vec<GpuView>,
}

#[derive(Debug, Serialize)]
struct ProvenView {
    fewest_gpus: bool,
    fewest_compute_slices: bool,
    gpus_at_least: u64,
    compute_slices_at_least: u64,
    rates_take_gpus: f64,
}

#[derive(Debug, Serialize)]
struct ServiceView {
    name: String,
    rate_per_s: f64,
    wanted_per_s: f64,
    carried_per_s: f64,
    slo_ms: f64,
    batch_under_ms: f64,
    takes_gpus: f64,
    slices: Vec<SliceView>,
}

#[derive(Debug, Serialize)]
struct SliceView {
    profile: String,
    count: u32,
    #[serde(flatten)]
    point: PointView,
}

#[derive(Debug, Serialize)]
struct PointView {
    batch: u32,
    processes: u32,
    throughput_per_s: f64,
    latency_ms: f64,
}

#[derive(Debug, Serialize)]
struct GpuView {
    index: u32,
    slices: Vec<SeatView>,
}

#[derive(Debug, Serialize)]
struct SeatView {
    profile: String,
    start: u8,
    service: String,
}

/// A service that no slice meets.
#[derive(Debug, Serialize)]
pub(crate) struct UnmetView {
    service: String,
    slo_ms: f64,
    batch_under_ms: f64,
    fastest: Vec<FastestView>,
}

#[derive(Debug, Serialize)]
struct FastestView {
    profile: String,
    #[serde(flatten)]
    point: PointView,
    #[serde(skip_serializing_if = "Option::is_none")]
    slo_that_would_do_ms: Option<f64>,
}

fn per_second(rate: model::Rate) -> f64 {
    rate.millionths() as f64 / 1e6
}

fn millis(time: model::Micros) -> f64 {
    time.get() as f64 / 1e3
}

impl From<&Point> for PointView {
    fn from(point: &Point) -> Self {
        Self {
            batch: point.batch,
            processes: point.processes,
            throughput_per_s: per_second(point.throughput),
            latency_ms: millis(point.latency),
        }
    }
}

impl SizeView {
    pub(crate) fn of(sizing: &Sizing, deployment: &Deployment) -> Self {
        let gpus = deployment.gpus.len();
        let service =
            |(load, service): (usize, &Service)| service_view(sizing, deployment, load, service);
        let seat = |seat: &Seat| SeatView {
            profile: sizing.board.name(seat.part.profile).to_string(),
            start: seat.part.placement.start.get(),
            service: sizing.services.get(seat.load).map(|s| s.name.clone()).unwrap_or_default(),
        };
        let gpu = |(number, seats): (usize, &Vec<Seat>)| GpuView {
            index: sizing.board.index(number),
            slices: seats.iter().map(seat).collect(),
        };
        Self {
            board: sizing.board.title.clone(),
            gpus,
            compute_slices: deployment.slices,
            gpus_available: sizing.board.most,
            fits: sizing.board.most.is_none_or(|most| gpus <= most as usize),
            proven: ProvenView {
                fewest_gpus: deployment.has_fewest_gpus(),
                fewest_compute_slices: deployment.is_smallest(),
                gpus_at_least: deployment.floor.gpus,
                compute_slices_at_least: deployment.floor.slices,
                rates_take_gpus: deployment.floor.share as f64 / 1e3,
            },
            measured_on_simulated_gpu: sizing.is_simulated(),
            services: sizing.services.iter().enumerate().map(service).collect(),
            layouts: deployment.gpus.iter().enumerate().map(gpu).collect(),
        }
    }
}

fn service_view(
    sizing: &Sizing,
    deployment: &Deployment,
    load: usize,
    service: &Service,
) -> ServiceView {
    let slice = |(profile, count): &(model::GpuInstanceProfileId, u32)| {
        Some(SliceView {
            profile: sizing.board.name(*profile).to_string(),
            count: *count,
            point: service.point(*profile)?.into(),
        })
    };
    ServiceView {
        name: service.name.clone(),
        rate_per_s: per_second(service.rate),
        wanted_per_s: per_second(service.wanted),
        carried_per_s: per_second(deployment.carried(load, &service.slices())),
        slo_ms: millis(service.slo),
        batch_under_ms: millis(service.limit),
        takes_gpus: deployment.shares.get(load).map_or(0.0, |share| *share as f64 / 1e3),
        slices: deployment.counts[load].iter().filter_map(slice).collect(),
    }
}

impl UnmetView {
    pub(crate) fn of(sizing: &Sizing, service: &Service) -> Self {
        let fastest = |point: &Point| FastestView {
            profile: sizing.board.name(point.profile).to_string(),
            point: point.into(),
            slo_that_would_do_ms: point.latency.whole_of(sizing.latency_share).map(millis),
        };
        Self {
            service: service.name.clone(),
            slo_ms: millis(service.slo),
            batch_under_ms: millis(service.limit),
            fastest: sizing.fastest(service).iter().map(fastest).collect(),
        }
    }
}
