//! What the holder of a lease is told while it runs, as sentences.
//!
//! Must never announce an end without its time.

use api::{LeaseView, NoticeKind, NoticeView, ReceiptView};
use jiff::tz::TimeZone;
use model::Millis;

use crate::draw::text::{clean, mib};
use crate::draw::time;

/// The sentence of a notice.
pub(crate) fn sentence(lease: &LeaseView, notice: &NoticeView, zone: &TimeZone) -> String {
    let at = time::clock(notice.until_ms, zone);
    let why = clean(&notice.message);
    match notice.kind {
        NoticeKind::Idle => {
            let since = lease.life.idle_since_ms.unwrap_or(lease.now_ms);
            let idle = Millis::new(lease.now_ms.saturating_sub(since));
            format!("{} has not been used for {idle}; it ends at {at} unless it is used", lease.id)
        }
        _ if notice.may_agree => {
            format!("{}: {why}; it is stopped now and starts anew on another slice", lease.id)
        }
        NoticeKind::Preempted | NoticeKind::Booked => {
            format!("{}: {why}; it ends at {at}", lease.id)
        }
        NoticeKind::Drained | NoticeKind::Move => {
            format!("{}: {why}; please end it when you can", lease.id)
        }
    }
}

/// What a lease was, in one line or two.
pub(crate) fn receipt(lease: &LeaseView, receipt: &ReceiptView) -> Vec<String> {
    let mut words = vec![format!("held {}", Millis::new(receipt.held_ms))];
    if receipt.waited_ms >= 1000 {
        words.push(format!("waited {}", Millis::new(receipt.waited_ms)));
    }
    words.push(format!("charged {}", gpu_hours(receipt.gpu_ms)));
    if let Some(peak) = receipt.metered.peak_memory_mib.filter(|peak| *peak > 0) {
        words.push(format!("peak {} of {}", mib(peak), mib(receipt.memory_mib)));
    }
    let metered = &receipt.metered;
    // Less than a tenth of the time is no picture of the whole.
    if metered.observed_ms > 0 && metered.observed_ms >= receipt.held_ms / 10 {
        let percent = metered.busy_ms.saturating_mul(100) / metered.observed_ms;
        words.push(format!("used {percent} % of the time"));
    }
    let mut lines = vec![format!("{}: {}", lease.id, words.join(", "))];
    let advice = receipt.advice.as_deref();
    lines.extend(advice.map(|why| format!("{}: next time ask for {}", lease.id, clean(why))));
    lines
}

/// `0.29 GPU-hours`.
pub(crate) fn gpu_hours(gpu_ms: u64) -> String {
    match gpu_ms / 36_000 {
        0 if gpu_ms > 0 => String::from("less than 0.01 GPU-hours"),
        hundredths => format!("{}.{:02} GPU-hours", hundredths / 100, hundredths % 100),
    }
}

#[cfg(test)]
mod tests {
    use api::MeteredView;

    use super::*;
    use crate::session::summary::tests::lease;

    fn notice(kind: NoticeKind, may_agree: bool) -> NoticeView {
        let message = "L9 with a better right needs the room".into();
        NoticeView { kind, until_ms: 51_000_000, message, may_agree }
    }

    #[test]
    fn notices_say_what_happens_and_when() {
        let mut lease = lease();
        lease.now_ms = 50_400_000;
        lease.life.idle_since_ms = Some(50_400_000 - 7_200_000);
        let said = |notice: &NoticeView| sentence(&lease, notice, &TimeZone::UTC);
        assert_eq!(
            said(&notice(NoticeKind::Idle, false)),
            "L7 has not been used for 2h00m; it ends at 14:10 unless it is used"
        );
        assert_eq!(
            said(&notice(NoticeKind::Preempted, false)),
            "L7: L9 with a better right needs the room; it ends at 14:10"
        );
        assert_eq!(
            said(&notice(NoticeKind::Preempted, true)),
            "L7: L9 with a better right needs the room; it is stopped now and starts anew on \
             another slice"
        );
    }

    #[test]
    fn a_receipt_tells_what_is_known_and_nothing_else() {
        let full = ReceiptView {
            profiles: vec!["2g.20gb".into()],
            whole_gpus: 0,
            memory_mib: 19_968,
            held_ms: 7_380_000,
            waited_ms: 240_000,
            gpu_ms: 1_044_000,
            metered: MeteredView {
                peak_memory_mib: Some(7270),
                busy_ms: 340_000,
                observed_ms: 1_000_000,
            },
            advice: Some("1g.10gb: it would have done".into()),
        };
        assert_eq!(
            receipt(&lease(), &full),
            [
                "L7: held 2h03m, waited 4m00s, charged 0.29 GPU-hours, peak 7,270 MiB of \
                 19,968 MiB, used 34 % of the time",
                "L7: next time ask for 1g.10gb: it would have done",
            ]
        );
        let unknown = ReceiptView {
            waited_ms: 3,
            gpu_ms: 5,
            metered: MeteredView { observed_ms: 1000, ..MeteredView::default() },
            advice: None,
            ..full
        };
        assert_eq!(
            receipt(&lease(), &unknown),
            ["L7: held 2h03m, charged less than 0.01 GPU-hours"]
        );
    }
}
