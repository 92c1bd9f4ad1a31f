//! Sizing of services: from a file and a profile table to a deployment, as text, JSON or a file of
//! layouts.
//!
//! Must never choose a size itself: that is the planner's. What is read is checked whole before
//! anything is worked out.

mod board;
mod figures;
mod files;
mod layouts;
mod limited;
mod measure;
mod report;
mod view;

use std::path::Path;

use layout_file::{Asked, Measured, Source};
use model::{Geometry, Micros, Rate};
use planner::pack::Packer;
use planner::size::{
    Deployment, EFFORT, Limits, Load, LoadSlice, Point, SizeError, best, deploy, fastest,
};

pub(crate) use board::Board;
pub(crate) use figures::summary;
pub(crate) use files::read_table;
pub(crate) use layouts::layout_text;
pub(crate) use measure::{Spec, Step, steps};
pub(crate) use report::{lines, unmet_lines};
pub(crate) use view::{SizeView, UnmetView};

use crate::{Context, Failure};

/// A service with what it may use on the board.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// What arrives.
    pub(crate) rate: Rate,
    /// What is asked for: with headroom.
    pub(crate) wanted: Rate,
    pub(crate) slo: Micros,
    /// A batch must take less than this.
    pub(crate) limit: Micros,
    /// What was measured, on slices that the board has.
    pub(crate) measured: Vec<(Point, Source)>,
    /// The best point of each profile.
    pub(crate) best: Vec<Point>,
    limits: Limits,
}

impl Service {
    /// The point at which a slice of this profile runs.
    pub(crate) fn point(&self, profile: model::GpuInstanceProfileId) -> Option<&Point> {
        self.best.iter().find(|point| point.profile == profile)
    }

    /// What the slices of each profile carry.
    pub(crate) fn slices(&self) -> Vec<LoadSlice> {
        let of = |point: &Point| LoadSlice { profile: point.profile, carries: point.throughput };
        self.best.iter().map(of).collect()
    }

    fn points(&self) -> Vec<Point> {
        self.measured.iter().map(|(point, _)| *point).collect()
    }

    /// A point on the same slice with more throughput, which only the latency forbids: the one that
    /// misses it by least.
    pub(crate) fn beyond_limit(&self, used: &Point) -> Option<Point> {
        let more = |point: &&Point| {
            point.profile == used.profile
                && point.throughput > used.throughput
                && point.latency >= self.limit
                && self.limits.processes.is_none_or(|most| point.processes <= most)
        };
        let points = self.points();
        points.iter().filter(more).min_by_key(|point| (point.latency, point.batch)).copied()
    }
}

/// A question that makes sense: every service can be met on this board.
#[derive(Debug)]
pub(crate) struct Sizing {
    pub(crate) board: Board,
    pub(crate) services: Vec<Service>,
    /// The share of the objective that a batch must stay under, in thousandths.
    pub(crate) latency_share: u32,
}

impl Sizing {
    /// Reads the services file and its table and finds the board.
    ///
    /// # Errors
    /// [`Failure`] with everything that is wrong in the files, by line and column.
    pub(crate) fn read(
        context: &Context,
        file: &Path,
        board: Option<&str>,
        gpus: Option<u32>,
    ) -> Result<Self, Failure> {
        let files = files::read(context, file)?;
        let named = board.or(files.ask.board.as_ref().map(|named| named.text.as_str()));
        let most = gpus.or(files.ask.gpus);
        let written = files.ask.board.as_ref().filter(|_| board.is_none());
        let board = Board::find(context, named, most).map_err(|failure| match written {
            Some(named) => files.at(named.at, failure),
            None => failure,
        })?;
        let services = files.services(context, &board)?;
        let latency_share = files.ask.latency_share;
        Ok(Self { board, services, latency_share })
    }

    /// The services that no slice of the board meets.
    pub(crate) fn unmet(&self) -> Vec<&Service> {
        self.services.iter().filter(|s| s.best.is_empty() && s.wanted > Rate::ZERO).collect()
    }

    /// The fastest point of a service on each profile, whatever it misses; the smallest slice first.
    pub(crate) fn fastest(&self, service: &Service) -> Vec<Point> {
        let mut points = fastest(&service.points(), &service.limits);
        points.sort_by_key(|point| {
            let name = self.board.name(point.profile);
            (name.slices, name.memory)
        });
        points
    }

    /// The deployment.
    ///
    /// # Errors
    /// [`Failure`] where a service has no slice that fits the board's GPUs.
    pub(crate) fn deploy(&self) -> Result<Deployment, Failure> {
        self.deploy_at(&Packer::new(&self.board.geometry), 100).map_err(|error| {
            let SizeError::NoSlice { load } = error;
            let name = self.services.get(load).map_or("", |service| service.name.as_str());
            Failure::new("E-SIZE", format!("`{name}` has no slice that a GPU of this board holds"))
        })
    }

    /// The whole percentage of every rate that so many GPUs carry, below a hundred.
    pub(crate) fn percent_on(&self, gpus: u32) -> u32 {
        let packer = Packer::new(&self.board.geometry);
        let fits = |percent: u32| {
            let deployment = self.deploy_at(&packer, percent);
            deployment.is_ok_and(|deployment| deployment.gpus.len() <= gpus as usize)
        };
        let (mut low, mut high) = (0, 100);
        while high - low > 1 {
            let middle = u32::midpoint(low, high);
            if fits(middle) { low = middle } else { high = middle }
        }
        low
    }

    fn deploy_at(&self, packer: &Packer, percent: u32) -> Result<Deployment, SizeError> {
        let load = |service: &Service| Load {
            rate: service.wanted.percent(percent),
            slices: service.slices(),
        };
        let loads: Vec<Load> = self.services.iter().map(load).collect();
        deploy(packer, &loads, EFFORT)
    }

    /// Whether a figure that is used was measured on a simulated GPU.
    pub(crate) fn is_simulated(&self) -> bool {
        let simulated = |service: &Service| {
            service.best.iter().any(|used| {
                service.measured.iter().any(|(p, source)| p == used && *source == Source::Simulated)
            })
        };
        self.services.iter().any(simulated)
    }
}

/// A service on a board: the points that the board has slices for, and of those the best.
fn service(asked: &Asked, share: u32, measured: Vec<(Point, Source)>, limits: Limits) -> Service {
    let points: Vec<Point> = measured.iter().map(|(point, _)| *point).collect();
    Service {
        name: asked.name.clone(),
        rate: asked.rate,
        wanted: asked.rate.with_headroom(asked.headroom),
        slo: asked.slo,
        limit: asked.slo.share(share),
        best: best(&points, &limits),
        measured,
        limits,
    }
}

/// A measured row as a point on the board; `None` where the board has no such slice.
fn point(row: &Measured, geometry: &Geometry) -> Option<(Point, Source)> {
    let profile = geometry.select(&row.profile).ok()?.id;
    let point = Point {
        profile,
        batch: row.batch,
        processes: row.processes,
        throughput: row.throughput,
        latency: row.latency,
    };
    Some((point, row.source))
}
