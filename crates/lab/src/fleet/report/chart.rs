//! Charts of a study, drawn as SVG: a dot and its interval for each policy, group by group.
//!
//! Must never draw a bar on an axis that does not begin at zero: dots may, bars may not.

use std::fmt::Write as _;

use super::super::metric::Metric;
use super::super::stats::Estimate;
use super::super::study::Study;
use super::grid::compared;

/// A drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// Its name as a file, without the ending.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The drawing.
    pub svg: String,
}

/// Okabe and Ito's colours, told apart by people who see fewer colours, and greys after them.
const COLOURS: [&str; 14] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F3C8D",
    "#66A61E", "#A6192E", "#1B2A6B", "#999999", "#000000", "#B5A300",
];

const LEFT: f64 = 64.0;
const TOP: f64 = 34.0;
const HEIGHT: f64 = 320.0;
const STEP: f64 = 9.0;
const GAP: f64 = 14.0;
const LEGEND: f64 = 130.0;

/// The charts of a study: what policies are compared by, one each.
pub fn charts(study: &Study) -> Vec<Chart> {
    compared(study).iter().map(|metric| chart(study, metric)).collect()
}

fn chart(study: &Study, metric: &Metric) -> Chart {
    let groups: Vec<(String, Vec<Estimate>)> = (0..study.plan.sources.len())
        .map(|source| {
            let cells = study.of_source(source).iter();
            let name = study.plan.sources[source].to_string();
            (name, cells.map(|cell| cell.estimate(metric)).collect())
        })
        .collect();
    let names: Vec<&str> = study.plan.contenders.iter().map(|contender| contender.name).collect();
    let unit = if metric.unit.is_empty() { String::new() } else { format!(", {}", metric.unit) };
    let title = format!("{}{unit}", metric.title);
    let most = (metric.unit == "%").then_some(100.0);
    let svg = Drawing { title: &title, groups: &groups, names: &names, most }.svg();
    Chart { name: metric.key.to_owned(), title, svg }
}

struct Drawing<'a> {
    title: &'a str,
    groups: &'a [(String, Vec<Estimate>)],
    names: &'a [&'a str],
    /// What no value can exceed.
    most: Option<f64>,
}

/// An axis with round ticks that holds all values.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    fn holding(low: f64, high: f64) -> Self {
        let span = (high - low).max(high.abs() * 1e-3).max(1e-9);
        let rough = span / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let nice = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|n| n * power >= rough);
        let step = nice.unwrap_or(10.0) * power;
        let floor = (low / step).floor() * step;
        let low = if low >= 0.0 { floor.max(0.0) } else { floor };
        Self { low, high: (high / step).ceil() * step, step }
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low).max(f64::MIN_POSITIVE);
        let share = share.clamp(0.0, 1.0);
        TOP + HEIGHT * (1.0 - share)
    }

    fn ticks(&self) -> Vec<f64> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        let all = (0..=count).map(|index| self.low + self.step * index as f64);
        all.filter(|tick| *tick <= self.high + self.step * 1e-6).collect()
    }

    fn digits(&self) -> usize {
        (0..6)
            .find(|d| {
                (self.step * 10f64.powi(*d) - (self.step * 10f64.powi(*d)).round()).abs() < 1e-6
            })
            .unwrap_or(6) as usize
    }
}

impl Drawing<'_> {
    fn axis(&self) -> Axis {
        let all = self.groups.iter().flat_map(|(_, values)| values);
        let ends =
            all.flat_map(|e| [e.mean - e.half.unwrap_or(0.0), e.mean + e.half.unwrap_or(0.0)]);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for end in ends.filter(|end| end.is_finite()) {
            (low, high) = (low.min(end), high.max(end));
        }
        if low > high {
            return Axis::holding(0.0, 1.0);
        }
        // An interval may reach beyond what is possible; the axis does not.
        let mut axis = Axis::holding(low.max(0.0), self.most.map_or(high, |most| high.min(most)));
        axis.high = self.most.map_or(axis.high, |most| axis.high.min(most));
        axis
    }

    fn svg(&self) -> String {
        let group = STEP * self.names.len() as f64 + GAP;
        // A group is at least as wide as its name may be broken.
        let group = group.max(120.0);
        let plot = group * self.groups.len() as f64;
        let (width, height) = (LEFT + plot + 18.0 + LEGEND, TOP + HEIGHT + 54.0);
        let axis = self.axis();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" aria-label=\"{}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"18\" font-size=\"14\" font-weight=\"600\">{}</text>\n",
            escaped(self.title),
            escaped(self.title)
        );
        let digits = axis.digits();
        for tick in axis.ticks() {
            let y = axis.y(tick);
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e3e3e3\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick:.digits$}</text>",
                LEFT + plot,
                LEFT - 8.0,
                y + 4.0
            );
        }
        for (index, (name, values)) in self.groups.iter().enumerate() {
            let from = LEFT + group * index as f64;
            self.group(&mut svg, &axis, (from, group), name, values);
        }
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{TOP}\" y2=\"{0:.1}\" stroke=\"#666\"/>\
             <line x1=\"{LEFT}\" x2=\"{1:.1}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#666\"/>",
            TOP + HEIGHT,
            LEFT + plot
        );
        self.legend(&mut svg, LEFT + plot + 18.0);
        svg.push_str("</svg>\n");
        svg
    }

    fn group(
        &self,
        svg: &mut String,
        axis: &Axis,
        (from, width): (f64, f64),
        name: &str,
        values: &[Estimate],
    ) {
        let inner = STEP * self.names.len() as f64;
        let begin = from + (width - inner) / 2.0 + STEP / 2.0;
        for (index, value) in values.iter().enumerate() {
            let (x, y) = (begin + STEP * index as f64, axis.y(value.mean));
            let colour = COLOURS[index % COLOURS.len()];
            if let Some(half) = value.half {
                let (top, bottom) = (axis.y(value.mean + half), axis.y(value.mean - half));
                let _ = write!(
                    svg,
                    "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\" \
                     stroke=\"{colour}\" stroke-width=\"2\"/>"
                );
            }
            let told = format!("{}: {:.3}", self.names.get(index).unwrap_or(&""), value.mean);
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"><title>{}</title></circle>",
                escaped(&told)
            );
        }
        let middle = from + width / 2.0;
        for (line, part) in name.split(", ").enumerate() {
            let y = TOP + HEIGHT + 16.0 + 14.0 * line as f64;
            let _ = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
                escaped(part)
            );
        }
    }

    fn legend(&self, svg: &mut String, x: f64) {
        for (index, name) in self.names.iter().enumerate() {
            let y = TOP + 8.0 + 18.0 * index as f64;
            let colour = COLOURS[index % COLOURS.len()];
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 10.0,
                y + 4.0,
                escaped(name)
            );
        }
        let y = TOP + 8.0 + 18.0 * self.names.len() as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#666\">lines: 95 % intervals</text>",
            x - 4.0,
            y + 4.0
        );
    }
}

/// Text that may stand in XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
