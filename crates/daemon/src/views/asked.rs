//! What was asked, as the wire shows it.
//!
//! Must never tell it otherwise than `requests` would read it back.

use api::{ArrangementKind, AskedView, PriorityKind};
use broker::{Arrangement, GpuSelector, Patience, Priority, RequestSpec, Wanted};
use model::Millis;

/// A request as it counts.
pub(crate) fn of(spec: &RequestSpec) -> AskedView {
    let selected = !matches!(spec.gpu, GpuSelector::Any);
    let asked = AskedView {
        count: spec.count,
        gpu: selected.then(|| selector(&spec.gpu)),
        arrangement: arrangement(spec.terms.arrangement),
        time_ms: spec.time.map(Millis::get),
        expect_ms: spec.expect.map(Millis::get),
        max_wait_ms: match spec.patience {
            Patience::Forever => None,
            Patience::Immediate => Some(0),
            Patience::AtMost(span) => Some(span.get()),
        },
        priority: priority(spec.terms.priority),
        preemptible: spec.terms.preemptible,
        restartable: spec.terms.restartable,
        ..AskedView::default()
    };
    match spec.wanted {
        Wanted::Profile(profile) => AskedView { profile: Some(profile.to_string()), ..asked },
        Wanted::Need(need) => AskedView {
            gpu_mem: need.memory.map(|memory| memory.to_string()),
            compute: need.compute_slices.map(|slices| format!("{slices}g")),
            ..asked
        },
        Wanted::WholeGpu => AskedView { whole_gpu: true, ..asked },
    }
}

/// The words that select these GPUs.
fn selector(gpu: &GpuSelector) -> String {
    match gpu {
        GpuSelector::Any => String::from("any"),
        GpuSelector::Index(index) => index.to_string(),
        GpuSelector::Uuid(text) | GpuSelector::Model(text) => text.clone(),
        GpuSelector::Pci(address) => address.to_string(),
    }
}

/// A rank on the wire.
pub(crate) const fn priority(rank: Priority) -> PriorityKind {
    match rank {
        Priority::Low => PriorityKind::Low,
        Priority::Normal => PriorityKind::Normal,
        Priority::High => PriorityKind::High,
    }
}

const fn arrangement(asked: Arrangement) -> Option<ArrangementKind> {
    match asked {
        Arrangement::Any => None,
        Arrangement::Pack => Some(ArrangementKind::Pack),
        Arrangement::Spread => Some(ArrangementKind::Spread),
        Arrangement::SameGpu => Some(ArrangementKind::SameGpu),
        Arrangement::OtherGpu => Some(ArrangementKind::OtherGpu),
    }
}
