//! Events in the life of a lease, as sentences.
//!
//! Must never name a command or its arguments.

use broker::{Activity, BookingEnd, Event, NoticeReason};
use model::NodeSnapshot;

/// The sentence of an event that concerns one lease; empty for events of other kinds.
pub(super) fn of_lease(event: &Event, observed: &NodeSnapshot) -> String {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the other half is in `room` and above")]
    match event {
        Event::Predicted { lease, start } => match (start.not_later_than, start.likely) {
            (Some(_), Some(_)) => format!("{lease} knows when it starts, at the latest and likely"),
            (Some(_), None) => format!("{lease} knows when it starts at the latest"),
            (None, Some(_)) => format!("{lease} knows when it likely starts"),
            (None, None) => format!("{lease} waits for an unknown time"),
        },
        Event::ActivityChanged { lease, activity } => match activity {
            Activity::Unknown => format!("{lease}: whether it is used is unknown"),
            Activity::Busy => format!("{lease} is used"),
            Activity::Idle { .. } => format!("{lease} is not used"),
        },
        Event::Metered { lease, .. } => format!("{lease}: its use was added up"),
        Event::Noticed { lease, notice } => {
            format!("{lease} was given notice: {}", reason(&notice.reason, observed))
        }
        Event::NoticeWithdrawn { lease } => format!("{lease}: the notice is void"),
        Event::Agreed { lease } => format!("{lease} agreed to be stopped and started anew"),
        Event::Displaced { lease, reason: why, .. } => {
            format!("{lease} gave its slice up and waits for another: {}", reason(why, observed))
        }
        Event::Lingering { lease, .. } => format!("{lease} waits for a new holder"),
        Event::HolderReplaced { lease, .. } => format!("{lease} has a new holder"),
        _ => String::new(),
    }
}

/// Why a notice was given, in words.
pub(crate) fn reason(reason: &NoticeReason, observed: &NodeSnapshot) -> String {
    match reason {
        NoticeReason::Idle { .. } => "it is not used".to_owned(),
        NoticeReason::Preempted { for_lease } => {
            format!("{for_lease} with a better right needs the room")
        }
        NoticeReason::Drained { gpu } => format!("{} is to be emptied", super::gpu(observed, gpu)),
        NoticeReason::Booked { booking } => format!("its place is booked ({booking})"),
        NoticeReason::Move { for_lease: Some(lease) } => format!("{lease} needs the room"),
        NoticeReason::Move { for_lease: None } => "larger slices would fit then".to_owned(),
    }
}

/// Why a booking is over, in words.
pub(super) fn booking_end(why: &BookingEnd) -> String {
    match why {
        BookingEnd::Over => "its time is over".to_owned(),
        BookingEnd::Cancelled => "it was given up".to_owned(),
        BookingEnd::NotUsed => "nobody came".to_owned(),
        BookingEnd::Lost(why) => format!("it cannot be kept: {why}"),
    }
}
