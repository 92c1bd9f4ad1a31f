//! `migctl book`: room for a time to come.
//!
//! Must never send anything but instants: time zones and days are the client's.

use std::process::ExitCode;

use api::{BookingRequest, BookingView};
use clap::{ArgGroup, Args};
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use model::{MemoryRequest, Millis, ProfileSelector};

use crate::draw::table::{Side, Table};
use crate::draw::text::clean;
use crate::session::wish::{compute_slices, count, gpu_text, lease_name};
use crate::{Context, Exit, Failure, autostart, connect};

/// Options of `book`.
#[derive(Debug, Args)]
#[command(
    about = "Book room for a time to come",
    long_about = "Books room for a time to come. A booking is accepted only if it can be kept for \
                  sure: whoever is on its places by then has a hard limit that ends before, or \
                  agreed to be ended. Use it with `migctl run --booking B1 -- CMD`; what runs \
                  under it ends when the booking does. Room that nobody comes for is given to \
                  others after a while.",
    override_usage = "migctl book (--profile P | --gpu-mem M | --compute Ng | --whole-gpu) \
                      --from WHEN --time T [OPTIONS]\n       migctl book --list\n       \
                      migctl book --cancel BOOKING",
    after_help = "Examples:\n  \
        migctl book --profile 7g --from 20:00 --time 4h --name night\n  \
        migctl book --whole-gpu --from 2026-11-23T20:00 --time 2h --zone Europe/Berlin\n  \
        migctl run --booking night -- ./train",
    group = ArgGroup::new("act").args(["from", "list", "cancel"]).required(true),
    group = ArgGroup::new("booked")
        .args(["profile", "gpu_mem", "compute", "whole_gpu"])
        .multiple(true)
)]
pub(crate) struct BookArgs {
    /// The profile (1g.10gb, 7g, or its id)
    #[arg(short, long, value_name = "P", conflicts_with_all = ["gpu_mem", "compute", "whole_gpu"])]
    profile: Option<ProfileSelector>,
    /// At least so much memory: 20g as in profile names, 20480MiB to the byte
    #[arg(long, value_name = "M", conflicts_with = "whole_gpu")]
    gpu_mem: Option<MemoryRequest>,
    /// At least so many compute slices (3g)
    #[arg(long, value_name = "Ng", value_parser = compute_slices, conflicts_with = "whole_gpu")]
    compute: Option<u8>,
    /// Whole GPUs: MIG off, or boards without MIG
    #[arg(long)]
    whole_gpu: bool,
    /// How many, all or none
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    count: u32,
    /// On which GPU (index, UUID, PCI address or model)
    #[arg(long, value_name = "SEL", value_parser = gpu_text)]
    gpu: Option<String>,
    /// From when: 20:00, 2026-11-23T20:00, +2h, or now
    #[arg(long, value_name = "WHEN", requires_all = ["time", "booked"])]
    from: Option<String>,
    /// For how long (90s, 15m, 2h, 1h30m)
    #[arg(long, value_name = "T")]
    time: Option<Millis>,
    /// A name for the booking, to use it by
    #[arg(long, value_name = "NAME", value_parser = lease_name)]
    name: Option<String>,
    /// The time zone in which --from is meant, and times are shown
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// List the bookings
    #[arg(long, conflicts_with_all = ["from", "cancel"])]
    list: bool,
    /// Give a booking up, by id (B1) or name
    #[arg(long, value_name = "BOOKING", conflicts_with = "from")]
    cancel: Option<String>,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &BookArgs) -> Result<ExitCode, Failure> {
    let zone = zone(args.zone.as_deref())?;
    connect::runtime()?.block_on(async {
        if let Some(name) = &args.cancel {
            let client = connect::required(context).await?;
            let view = client.cancel_booking(name).await;
            let view = view.map_err(|error| Failure::of_client("cannot cancel it", &error))?;
            context.output.say(&format!("migctl: {} is given up", view.id));
            return shown(context, &view, &zone);
        }
        if args.list {
            let client = connect::required(context).await?;
            let bookings = client.bookings().await;
            let bookings =
                bookings.map_err(|error| Failure::of_client("cannot read the bookings", &error))?;
            return listed(context, &bookings, &zone);
        }
        let request = request(args, &zone)?;
        let client = autostart::started(context).await?;
        let key = format!("book-{}-{}", std::process::id(), Timestamp::now().as_nanosecond());
        let view = client.book(&request, &key).await;
        let view = view.map_err(|error| Failure::of_client("cannot book that", &error))?;
        context
            .output
            .say(&format!("migctl: use it with: migctl run --booking {} -- CMD", view.id));
        shown(context, &view, &zone)
    })
}

fn zone(name: Option<&str>) -> Result<TimeZone, Failure> {
    let Some(name) = name else { return Ok(TimeZone::system()) };
    TimeZone::get(name).map_err(|_| {
        Failure::new("E-TIME-ZONE", format!("`{}` is no time zone", clean(name)))
            .exit(Exit::Usage)
            .hint("write it as in Europe/Berlin or Asia/Seoul")
    })
}

fn request(args: &BookArgs, zone: &TimeZone) -> Result<BookingRequest, Failure> {
    let text = args.from.as_deref().unwrap_or("now");
    let from = instant(text, Timestamp::now(), zone)
        .map_err(|words| Failure::new("E-TIME", words).exit(Exit::Usage))?;
    let from_ms = u64::try_from(from.as_millisecond()).unwrap_or(0);
    let span = args.time.map_or(0, Millis::get);
    Ok(BookingRequest {
        profile: args.profile.as_ref().map(ToString::to_string),
        gpu_mem: args.gpu_mem.map(|memory| memory.to_string()),
        compute: args.compute.map(|slices| format!("{slices}g")),
        whole_gpu: args.whole_gpu,
        count: args.count,
        gpu: args.gpu.clone(),
        from_ms,
        until_ms: from_ms.saturating_add(span),
        name: args.name.clone(),
    })
}

/// The instant that somebody means by `text` at `now`: a span from now, a time of day that comes
/// next, a local date and time, or an instant with its offset. A local time that the clocks skip
/// over is the moment they are set; one that comes twice is the first.
fn instant(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let text = text.trim();
    let cannot = |error: jiff::Error| format!("`{text}` cannot be: {error}");
    if text == "now" {
        return Ok(now);
    }
    if let Some(span) = text.strip_prefix('+') {
        let span: Millis = span.parse().map_err(|error: model::units::MillisError| {
            format!("`{text}` is not a span from now: {error}")
        })?;
        let millis = i64::try_from(span.get()).unwrap_or(i64::MAX);
        return now.checked_add(millis.milliseconds()).map_err(cannot);
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    if let Ok(at) = DateTime::strptime("%Y-%m-%dT%H:%M", text)
        .or_else(|_| DateTime::strptime("%Y-%m-%d %H:%M", text))
    {
        return zone.to_timestamp(at).map_err(cannot);
    }
    if let Ok(at) = Time::strptime("%H:%M", text) {
        let today = zone.to_datetime(now).date();
        let of = |day: jiff::civil::Date| zone.to_timestamp(day.to_datetime(at)).map_err(cannot);
        let next = of(today)?;
        return if next >= now { Ok(next) } else { of(today.tomorrow().map_err(cannot)?) };
    }
    Err(format!("`{text}` is no time; write 20:00, 2026-11-23T20:00, +2h or now"))
}

fn time_words(ms: u64, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX));
    at.map_or_else(
        |_| ms.to_string(),
        |at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

/// Where it is kept, in words.
fn places(view: &BookingView) -> String {
    let mut gpus: Vec<u32> = view.places.iter().map(|place| place.gpu_index).collect();
    gpus.extend(&view.whole_gpus);
    gpus.sort_unstable();
    gpus.dedup();
    crate::draw::text::ranges(&gpus)
}

fn shown(context: &Context, view: &BookingView, zone: &TimeZone) -> Result<ExitCode, Failure> {
    if context.json() {
        context.output.data(view)?;
    } else {
        let (from, until) = (time_words(view.from_ms, zone), time_words(view.until_ms, zone));
        let (wish, gpus) = (clean(&view.wish), places(view));
        context.output.line(&format!("{} {wish} on GPU {gpus}, {from} to {until}", view.id))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(
    context: &Context,
    bookings: &[BookingView],
    zone: &TimeZone,
) -> Result<ExitCode, Failure> {
    if context.json() {
        context.output.data(&bookings)?;
        return Ok(ExitCode::SUCCESS);
    }
    if bookings.is_empty() {
        context.output.say("nothing is booked");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new([
        ("BOOKING", Side::Left),
        ("NAME", Side::Left),
        ("TENANT", Side::Left),
        ("ROOM", Side::Left),
        ("GPU", Side::Left),
        ("FROM", Side::Left),
        ("UNTIL", Side::Left),
        ("LEASE", Side::Left),
    ]);
    for view in bookings {
        table.row([
            view.id.to_string(),
            view.name.as_deref().or(view.window.as_deref()).map(clean).unwrap_or_default(),
            clean(&view.tenant),
            clean(&view.wish),
            places(view),
            time_words(view.from_ms, zone),
            time_words(view.until_ms, zone),
            view.lease.map(|lease| lease.to_string()).unwrap_or_default(),
        ]);
    }
    context.output.line(&table.lines().join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, now: &str) -> Result<String, String> {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        instant(text, now.parse().unwrap(), &zone).map(|found| found.to_string())
    }

    #[test]
    fn times_are_meant_where_the_client_is() {
        let now = "2026-11-22T12:00:00Z";
        for (text, instant) in [
            ("now", "2026-11-22T12:00:00Z"),
            ("+2h", "2026-11-22T14:00:00Z"),
            ("20:00", "2026-11-22T19:00:00Z"),
            ("08:00", "2026-11-23T07:00:00Z"),
            ("2026-11-23T20:00", "2026-11-23T19:00:00Z"),
            ("2026-07-01 20:00", "2026-07-01T18:00:00Z"),
            ("2026-11-23T20:00:00Z", "2026-11-23T20:00:00Z"),
        ] {
            assert_eq!(at(text, now).as_deref(), Ok(instant), "{text}");
        }
        for bad in ["", "soon", "+2", "25:00", "2026-13-01T00:00"] {
            assert!(at(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_that_the_clocks_skip_or_repeat_is_one_instant() {
        // Skipped: 02:30 on the last Sunday of March is 03:30 after the change.
        let spring = at("2027-03-28T02:30", "2026-11-22T12:00:00Z");
        assert_eq!(spring.as_deref(), Ok("2027-03-28T01:30:00Z"));
        // Twice: the first of both.
        let autumn = at("2026-10-25T02:30", "2026-10-20T12:00:00Z");
        assert_eq!(autumn.as_deref(), Ok("2026-10-25T00:30:00Z"));
    }
}
