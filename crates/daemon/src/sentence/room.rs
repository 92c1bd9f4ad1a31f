//! Events about GPUs, bookings and kept room, as sentences.
//!
//! Must never name a command or its arguments.

use broker::{Event, SliceTarget};
use model::{GpuUuid, NodeSnapshot};

use super::lease::booking_end;
use super::{gpu, place};

fn places(observed: &NodeSnapshot, places: &[SliceTarget], whole: &[GpuUuid]) -> String {
    let slices = places.iter().map(|target| place(observed, &target.key));
    let whole = whole.iter().map(|uuid| gpu(observed, uuid));
    slices.chain(whole).collect::<Vec<String>>().join(", ")
}

/// The sentence of an event about room; empty for events of other kinds.
pub(super) fn of_room(event: &Event, observed: &NodeSnapshot) -> String {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the other half is in `lease` and above")]
    match event {
        Event::Cordoned { gpu: uuid, cordon } => {
            let how = if cordon.drain { "is being emptied" } else { "gets no new lease" };
            let why =
                if cordon.why.is_empty() { String::new() } else { format!(": {}", cordon.why) };
            format!("{} {how}{why}", gpu(observed, uuid))
        }
        Event::Uncordoned { gpu: uuid } => format!("{} is back in use", gpu(observed, uuid)),
        Event::Drained { gpu: uuid } => format!("{} is empty", gpu(observed, uuid)),
        Event::Quarantined { gpu: uuid, why } => {
            format!("{} is kept out of use: {why}", gpu(observed, uuid))
        }
        Event::HealthNoted { gpu: uuid, trouble: Some(words) } => {
            format!("{} fails: {words}", gpu(observed, uuid))
        }
        Event::HealthNoted { gpu: uuid, trouble: None } => {
            format!("{} answers well", gpu(observed, uuid))
        }
        Event::QuarantineLifted { gpu: uuid } => format!("{} is well again", gpu(observed, uuid)),
        Event::Booked { booking, spec, places: kept, whole } => {
            format!(
                "{booking}: {} booked {} x {} ({})",
                spec.tenant,
                spec.count,
                spec.wanted,
                places(observed, kept, whole)
            )
        }
        Event::BookingMoved { booking, places: kept, whole } => {
            format!("{booking} is kept elsewhere: {}", places(observed, kept, whole))
        }
        Event::BookingEnded { booking, why } => format!("{booking} is over: {}", booking_end(why)),
        Event::Reserved { lease, reservation } => {
            let kept = places(observed, &reservation.places, &reservation.whole);
            format!("{kept} is kept free for {lease}")
        }
        Event::ReservationDropped => "no room is kept free any more".to_owned(),
        Event::RoomPromised { lease, places: kept, whole }
            if kept.is_empty() && whole.is_empty() =>
        {
            format!("no room is kept for {lease} any more")
        }
        Event::RoomPromised { lease, places: kept, whole } => {
            let kept = places(observed, kept, whole);
            format!("{kept} is kept for {lease} until others have left it")
        }
        _ => String::new(),
    }
}
