//! Line charts as SVG, for the page: no script, nothing from the network, light and dark by the page's own colours.
//!
//! Our own code, because the plotting crates write the colours of one background into every element, draw text as
//! paths or need a font, and know no axis of nines; a page that is read in light, dark and print needs classes and CSS
//! properties ([`STYLE`]) instead. Series differ by colour, by dash and by marker, so that no colour need be seen.
//!
//! ```text
//!   y label
//!   ┌──────────────────────┐ TOP
//!   │ grid, marks, lines,  │
//!   │ markers, hit areas   │
//!   └──────────────────────┘ HEIGHT - BOTTOM
//! LEFT   ticks, x label   WIDTH - RIGHT
//! ```

mod axis;

use std::fmt::Write as _;

pub use axis::{Axis, Scale};
use axis::{Ends, Ruler};

use super::escape::html;

/// A chart: what is drawn, and what is said of it.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// A sentence on how to read it; may be empty.
    pub note: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// The lines. Without any point that can be drawn, the chart says so.
    pub series: Vec<Series>,
    /// Values of x that are pointed out.
    pub marks: Vec<Mark>,
}

/// One line of a chart.
#[derive(Debug, Clone)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Which colour, dash and marker: the same number is the same thing in all charts of a page.
    pub style: usize,
    /// x and y, in ascending order of x. One that is not on the axes is a gap in the line.
    pub points: Vec<(f64, f64)>,
    /// Further points, without a line.
    pub strays: Vec<(f64, f64)>,
}

/// A value of x that is pointed out by a vertical line.
#[derive(Debug, Clone)]
pub struct Mark {
    /// The value.
    pub x: f64,
    /// What it is; a word or two.
    pub label: String,
}

/// The rules of CSS that charts need, beside the page's properties `--series-0` to `--series-5`, `--grid`, `--muted`,
/// `--text` and `--paper`.
pub const STYLE: &str = include_str!("chart/style.css");

/// The chart as a `figure` of HTML: title, legend, picture, note.
pub fn figure(chart: &Chart) -> String {
    let legend: String = chart.series.iter().map(legend_entry).collect();
    let note = if chart.note.is_empty() {
        String::new()
    } else {
        format!("<p class=\"note\">{}</p>\n", html(&chart.note))
    };
    format!(
        "<figure class=\"chart\">\n<figcaption>{}</figcaption>\n<ul class=\"legend\">{legend}</ul>\n{}{note}</figure>\n",
        html(&chart.title),
        svg(chart)
    )
}

/// The picture alone: one `svg` element.
pub fn svg(chart: &Chart) -> String {
    let plot = Plot::of(chart);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        html(&spoken(chart, &plot))
    );
    svg += &grid(chart, &plot);
    svg += &marks(chart, &plot);
    if plot.is_empty {
        svg += &text(LEFT + PLOT_WIDTH / 2.0, TOP + PLOT_HEIGHT / 2.0, "middle", "nothing to show");
    }
    for series in &chart.series {
        svg += &line(series, &plot);
    }
    for (number, series) in chart.series.iter().enumerate() {
        svg += &markers(series, number, &plot);
    }
    svg += &mark_labels(chart, &plot);
    for series in &chart.series {
        svg += &hit_areas(chart, series, &plot);
    }
    svg + "</svg>\n"
}

/// The two rulers, laid on the paper.
struct Plot {
    x: Ruler,
    y: Ruler,
    is_empty: bool,
}

impl Plot {
    fn of(chart: &Chart) -> Plot {
        let points =
            || chart.series.iter().flat_map(|series| series.points.iter().chain(&series.strays)).copied();
        let x = Ruler::new(chart.x.scale, Ends::AtData, X_TICKS, points().map(|(x, _)| x));
        let y = Ruler::new(chart.y.scale, Ends::AtTick, Y_TICKS, points().map(|(_, y)| y));
        let mut plot = Plot { x, y, is_empty: false };
        plot.is_empty = !points().any(|point| plot.place(point).is_some());
        plot
    }

    /// Where on the paper a point lies; none for one that is not on the axes.
    fn place(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        Some((self.place_x(x)?, self.place_y(y)?))
    }

    fn place_x(&self, x: f64) -> Option<f64> {
        Some(LEFT + PLOT_WIDTH * self.x.position(x)?)
    }

    fn place_y(&self, y: f64) -> Option<f64> {
        Some(TOP + PLOT_HEIGHT * (1.0 - self.y.position(y)?))
    }
}

/// What is read out instead of the picture: the title and from where to where each line goes.
fn spoken(chart: &Chart, plot: &Plot) -> String {
    let mut spoken = format!("{}. {} by {}.", chart.title, chart.y.label, chart.x.label);
    for series in &chart.series {
        let values = || series.points.iter().filter(|point| plot.place(**point).is_some()).map(|(_, y)| *y);
        let (low, high) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        if low <= high {
            let [low, high] = [low, high].map(chart.y.text);
            write!(spoken, " {}: {low} to {high}.", series.name).expect("a string takes all");
        }
    }
    spoken
}

fn grid(chart: &Chart, plot: &Plot) -> String {
    let (right, bottom) = (LEFT + PLOT_WIDTH, TOP + PLOT_HEIGHT);
    let mut grid = String::new();
    for (tick, y) in plot.y.ticks.iter().filter_map(|tick| Some((*tick, plot.place_y(*tick)?))) {
        grid += &rule("grid", (LEFT, y), (right, y));
        grid += &text(LEFT - 7.0, y + 4.0, "end", &(chart.y.text)(tick));
    }
    let mut free_from = f64::NEG_INFINITY;
    for (tick, x) in plot.x.ticks.iter().filter_map(|tick| Some((*tick, plot.place_x(*tick)?))) {
        grid += &rule("grid", (x, TOP), (x, bottom));
        let label = (chart.x.text)(tick);
        let half = text_width(&label) / 2.0;
        if x - half > free_from && x + half < WIDTH + OVERHANG {
            grid += &text(x, bottom + 17.0, "middle", &label);
            free_from = x + half + 6.0;
        }
    }
    grid += &rule("axis", (LEFT, bottom), (right, bottom));
    grid += &text(LEFT, TOP - 11.0, "start", &chart.y.label);
    grid + &text(right, bottom + 34.0, "end", &chart.x.label)
}

fn marks(chart: &Chart, plot: &Plot) -> String {
    let places = chart.marks.iter().filter_map(|mark| plot.place_x(mark.x));
    places.map(|x| rule("mark", (x, TOP), (x, TOP + PLOT_HEIGHT))).collect()
}

/// The labels of marks, beside them on the side where there is room, each below the one before.
fn mark_labels(chart: &Chart, plot: &Plot) -> String {
    let mut labels = String::new();
    for (number, mark) in chart.marks.iter().enumerate() {
        let Some(x) = plot.place_x(mark.x) else { continue };
        let has_room = x + text_width(&mark.label) + 10.0 < WIDTH - RIGHT;
        let (anchor, beside) = if has_room { ("start", 5.0) } else { ("end", -5.0) };
        labels += &text(x + beside, TOP + 12.0 + 15.0 * number as f64, anchor, &mark.label);
    }
    if labels.is_empty() { labels } else { format!("<g class=\"mark-label\">{labels}</g>\n") }
}

/// The line of a series: from point to point, and anew after each gap.
fn line(series: &Series, plot: &Plot) -> String {
    let mut path = String::new();
    let mut command = 'M';
    for point in &series.points {
        match plot.place(*point) {
            Some((x, y)) => {
                write!(path, "{command}{x:.1} {y:.1}").expect("a string takes all");
                command = 'L';
            }
            None => command = 'M',
        }
    }
    if path.is_empty() {
        path
    } else {
        format!("<path class=\"line s{}\" d=\"{path}\"/>\n", series.style % STYLES)
    }
}

/// Markers that are seen: of all points if they are few, else of some, and of each that no line leads to.
fn markers(series: &Series, number: usize, plot: &Plot) -> String {
    let places: Vec<Option<(f64, f64)>> = series.points.iter().map(|point| plot.place(*point)).collect();
    let every = if places.len() <= MARKED_MAX { 1 } else { places.len().div_ceil(MARKERS) };
    let placed = |at: usize| places.get(at).copied().flatten();
    let is_marked = |at: usize| {
        let alone = (at == 0 || placed(at - 1).is_none()) && placed(at + 1).is_none();
        alone || at % every == (number * every / 3) % every
    };
    let on_line = (0..places.len()).filter(|at| is_marked(*at)).filter_map(placed);
    let strays = series.strays.iter().filter_map(|point| plot.place(*point));
    let drawn: String = on_line.chain(strays).map(|(x, y)| marker(series.style, x, y)).collect();
    if drawn.is_empty() {
        drawn
    } else {
        format!("<g class=\"marker s{}\">{drawn}</g>\n", series.style % STYLES)
    }
}

/// Circle, square, triangle, diamond, triangle on its head, cross.
fn marker(style: usize, x: f64, y: f64) -> String {
    match style % STYLES {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"),
        1 => format!("<path d=\"M{:.1} {:.1}h5.6v5.6h-5.6z\"/>", x - 2.8, y - 2.8),
        2 => format!("<path d=\"M{x:.1} {:.1}l3.6 6.2h-7.2z\"/>", y - 3.8),
        3 => format!("<path d=\"M{x:.1} {:.1}l3.9 3.9l-3.9 3.9l-3.9 -3.9z\"/>", y - 3.9),
        4 => format!("<path d=\"M{x:.1} {:.1}l3.6 -6.2h-7.2z\"/>", y + 3.8),
        _ => format!("<path d=\"M{:.1} {y:.1}h7.2M{x:.1} {:.1}v7.2\"/>", x - 3.6, y - 3.6),
    }
}

/// An unseen circle about each point that says what it is when it is pointed at.
fn hit_areas(chart: &Chart, series: &Series, plot: &Plot) -> String {
    let mut areas = String::from("<g class=\"hit\">");
    for (point, (x, y)) in
        series.points.iter().chain(&series.strays).filter_map(|point| Some((point, plot.place(*point)?)))
    {
        let (at, value) = ((chart.x.text)(point.0), (chart.y.text)(point.1));
        let title = html(&format!("{}: {value} at {at}", series.name));
        write!(areas, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\"><title>{title}</title></circle>")
            .expect("a string takes all");
    }
    areas + "</g>\n"
}

fn legend_entry(series: &Series) -> String {
    let style = series.style % STYLES;
    format!(
        "<li><svg viewBox=\"0 0 36 12\" aria-hidden=\"true\"><path class=\"line s{style}\" d=\"M1 6H35\"/><g class=\"marker \
         s{style}\">{}</g></svg>{}</li>",
        marker(style, 18.0, 6.0),
        html(&series.name)
    )
}

fn rule(class: &str, from: (f64, f64), to: (f64, f64)) -> String {
    format!("<path class=\"{class}\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>\n", from.0, from.1, to.0, to.1)
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n", html(text))
}

/// About how wide a text is; no text is measured here.
fn text_width(text: &str) -> f64 {
    7.0 * text.chars().count() as f64
}

/// As wide as a phone, so that its text can be read there; a page shows two of them side by side.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 42.0;
const PLOT_WIDTH: f64 = WIDTH - LEFT - RIGHT;
const PLOT_HEIGHT: f64 = HEIGHT - TOP - BOTTOM;

/// A label at the end of the axis may stand out by so much.
const OVERHANG: f64 = 5.0;

const X_TICKS: usize = 8;
const Y_TICKS: usize = 6;

/// Colours, dashes and markers; with more series they come again.
const STYLES: usize = 6;

/// Up to so many points, each has a marker.
const MARKED_MAX: usize = 24;

/// Of more points, about so many have one.
const MARKERS: usize = 9;

#[cfg(test)]
mod tests;
