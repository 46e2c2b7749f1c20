//! Plots as SVG, made by hand: lines and points on two axes. Nothing is loaded, so a page works anywhere.

use std::fmt::Write;

use super::number;

/// Size of a plot, and of the margins that hold its axes. About as large as three beside each other are shown, so that
/// text is as large as it says.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 44.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 16.0;

/// Colours that people with any sight tell apart (Okabe and Ito 2008), as [`COLOURS`] names them: on a light page, and
/// on a dark one.
const HUES: [(&str, &str); 7] = [
    ("#0072b2", "#4aa8e0"),
    ("#d55e00", "#f0803c"),
    ("#009e73", "#2fc79b"),
    ("#cc79a7", "#dd9cc1"),
    ("#e69f00", "#f0b73e"),
    ("#56b4e9", "#9bd4f5"),
    ("#000000", "#f2f2f2"),
];

/// Curves beyond the colours, or of one colour, differ in their dashes.
const DASHES: [&str; 4] = ["", "7 4", "2 4", "9 3 2 3"];

/// The colours as variables of a style sheet: `light` and `dark`, to be put where each is valid.
pub(crate) fn colours() -> [String; 2] {
    let all = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
        HUES.iter().enumerate().map(|(i, hue)| format!("--c{i}:{};", pick(hue))).collect()
    };
    [all(|hue| hue.0), all(|hue| hue.1)]
}

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero, evenly.
    Linear,
    /// By powers of ten; values of 0 and below are left out.
    Log,
}

/// Values under one name.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) mark: Mark,
    pub(crate) look: Look,
}

/// What a curve is told apart by. Curves of one look are of one kind, and named once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    hue: usize,
    dash: usize,
}

impl Look {
    /// The `i`-th: first by colour, and where these end by dashes.
    pub(crate) fn number(i: usize) -> Look {
        Look { hue: i % HUES.len(), dash: i / HUES.len() % DASHES.len() }
    }

    /// Of the `of`-th thing its `i`-th kind: by the colour and by dashes.
    pub(crate) fn of(of: usize, i: usize) -> Look {
        Look { hue: of % HUES.len(), dash: i % DASHES.len() }
    }
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Line,
    /// With a dot at each, as there are few.
    Dots,
}

/// One plot.
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) x: (String, Scale),
    pub(crate) y: (String, Scale),
    pub(crate) curves: Vec<Curve>,
}

/// The range of an axis, and where a value lies on it.
struct Axis {
    low: f64,
    high: f64,
    scale: Scale,
    /// Pixels of `low` and `high`.
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, scale: Scale, (from, to): (f64, f64)) -> Axis {
        let usable = |v: &f64| v.is_finite() && (scale == Scale::Linear || *v > 0.0);
        let (mut low, mut high) =
            values.filter(usable).fold((f64::INFINITY, f64::NEG_INFINITY), |r, v| (r.0.min(v), r.1.max(v)));
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        match scale {
            Scale::Linear => {
                low = low.min(0.0);
                high = if high <= low { low + 1.0 } else { high * 1.04 };
            }
            Scale::Log => {
                low = 10f64.powf((low.log10() * 2.0).floor() / 2.0);
                high = 10f64.powf((high.log10() * 2.0 + 1e-9).ceil() / 2.0).max(low * 10.0);
            }
        }
        Axis { low, high, scale, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.high - self.low) / 5.0;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough * 0.999);
                let step = step.unwrap_or(power * 10.0);
                let first = (self.low / step).ceil();
                (0..12).map(|i| (first + f64::from(i)) * step).filter(|t| *t <= self.high).collect()
            }
            Scale::Log => {
                let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
                let factors: &[f64] = if self.high / self.low > 1000.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let all = decades.flat_map(|d| factors.iter().map(move |f| f * 10f64.powi(d)));
                all.filter(|t| (self.low * 0.999..=self.high * 1.001).contains(t)).collect()
            }
        }
    }
}

impl Plot {
    /// As an `<svg>` element.
    pub(crate) fn svg(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.draw(&mut out);
        out
    }

    fn draw(&self, out: &mut String) -> std::fmt::Result {
        let all = || self.curves.iter().flat_map(|c| c.points.iter());
        let x = Axis::new(all().map(|p| p.0), self.x.1, (LEFT, WIDTH - RIGHT));
        let y = Axis::new(all().map(|p| p.1), self.y.1, (HEIGHT - BOTTOM, TOP));
        let title = escape(&self.title);
        writeln!(
            out,
            r#"<figure><figcaption>{title}</figcaption><svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">"#
        )?;
        self.axes(&x, &y, out)?;
        for curve in &self.curves {
            let Look { hue, dash } = curve.look;
            let visible = |p: &&(f64, f64)| {
                (x.scale == Scale::Linear || p.0 > 0.0) && (y.scale == Scale::Linear || p.1 > 0.0)
            };
            let points: Vec<String> = curve
                .points
                .iter()
                .filter(visible)
                .map(|p| format!("{:.1},{:.1}", x.at(p.0), y.at(p.1)))
                .collect();
            writeln!(
                out,
                r#"<polyline style="stroke:var(--c{hue})" stroke-dasharray="{}" points="{}"/>"#,
                DASHES[dash],
                points.join(" ")
            )?;
            if curve.mark == Mark::Dots {
                for p in curve.points.iter().filter(visible) {
                    let (at_x, at_y) = (x.at(p.0), y.at(p.1));
                    writeln!(
                        out,
                        r#"<circle cx="{at_x:.1}" cy="{at_y:.1}" r="4" style="fill:var(--c{hue})"><title>{}: {}</title></circle>"#,
                        number(p.0),
                        number(p.1)
                    )?;
                }
            }
        }
        writeln!(out, "</svg>{}</figure>", self.legend())
    }

    fn axes(&self, x: &Axis, y: &Axis, out: &mut String) -> std::fmt::Result {
        let (bottom, middle) = (HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2.0);
        for tick in x.ticks() {
            let at = x.at(tick);
            writeln!(
                out,
                r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{bottom}"/><text x="{at:.1}" y="{}" text-anchor="middle">{}</text>"#,
                bottom + 16.0,
                short(tick)
            )?;
        }
        for tick in y.ticks() {
            let at = y.at(tick);
            writeln!(
                out,
                r#"<line class="grid" x1="{LEFT}" x2="{}" y1="{at:.1}" y2="{at:.1}"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                short(tick)
            )?;
        }
        writeln!(
            out,
            r#"<text x="{middle}" y="{}" text-anchor="middle">{}</text><text transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text>"#,
            HEIGHT - 6.0,
            escape(&self.x.0),
            (TOP + bottom) / 2.0,
            escape(&self.y.0)
        )
    }

    fn legend(&self) -> String {
        let mut named = Vec::new();
        let mut entries = String::new();
        for Curve { name, look, .. } in self.curves.iter().filter(|c| !c.name.is_empty()) {
            if named.contains(&(name, look)) {
                continue;
            }
            named.push((name, look));
            // Writing to a string does not fail.
            let _ = write!(
                entries,
                r#"<span><svg class="key" viewBox="0 0 28 10"><line x1="0" x2="28" y1="5" y2="5" style="stroke:var(--c{})" stroke-dasharray="{}"/></svg>{}</span>"#,
                look.hue,
                DASHES[look.dash],
                escape(name)
            );
        }
        format!(r#"<div class="legend">{entries}</div>"#)
    }
}

/// A tick's number, without digits that say nothing.
fn short(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded.abs() >= 1000.0 { number(rounded) } else { format!("{rounded}") }
}

/// Text that a page shows as it is.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_and_have_round_ticks() {
        let axis = Axis::new([0.0, 3.0, 95.0].into_iter(), Scale::Linear, (0.0, 100.0));
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert!(axis.at(0.0) == 0.0 && (95.0..100.0).contains(&axis.at(95.0)));
        let axis = Axis::new([2.0, 150.0, 0.0].into_iter(), Scale::Log, (100.0, 0.0));
        assert_eq!(axis.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]);
        assert!(axis.at(2.0) > axis.at(150.0), "upwards");
        let nothing = Axis::new([].into_iter(), Scale::Linear, (0.0, 1.0));
        assert!(nothing.at(3.0).is_finite() && !nothing.ticks().is_empty());
        let zeros = Axis::new([0.0, 0.0].into_iter(), Scale::Linear, (0.0, 1.0));
        assert!(zeros.at(0.0).is_finite());
    }

    #[test]
    fn what_a_server_says_is_no_markup() {
        let plot = Plot {
            title: "<script>".to_owned(),
            x: ("x".to_owned(), Scale::Linear),
            y: ("y".to_owned(), Scale::Log),
            curves: vec![Curve {
                name: "\"a'&".to_owned(),
                points: vec![(1.0, 2.0), (2.0, 0.0)],
                mark: Mark::Dots,
                look: Look::number(0),
            }],
        };
        let svg = plot.svg();
        assert!(
            svg.contains("&lt;script&gt;") && svg.contains("&quot;a&#39;&amp;") && !svg.contains("<script")
        );
        assert_eq!(svg.matches("<circle").count(), 1, "a logarithm of 0 has no place");
    }
}
