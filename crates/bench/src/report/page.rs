//! A document as one HTML page: tables, and plots of what tables hide. It loads nothing.

use std::fmt::Write;

use super::plot::{Curve, Look, Mark, Plot, Scale, colours, escape};
use super::tables::{letter, markdown};
use crate::document::{Document, Run};
use crate::load::Load;
use crate::record::{Phase, Record};
use crate::stats::{Weighted, middle_ms};

/// Points of a curve, at most: more are not seen.
const MOST_POINTS: usize = 400;

/// The quantiles that a distribution is drawn at, towards the tail ever closer.
const QUANTILES: usize = 200;

/// The whole page.
pub fn html(document: &Document) -> String {
    let urls: Vec<&str> = document.servers.iter().map(|s| s.url.as_str()).collect();
    let name = escape(&format!("garrison bench: {}", urls.join(" and ")));
    let mut plots = String::new();
    let several = [loads(document, document.servers.len())].into_iter().flatten();
    for plot in several.chain(distributions(document)).chain(times(document)) {
        plots += &plot.svg();
    }
    let [light, dark] = colours();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>:root{{{LIGHT}{light}}}\
         @media (prefers-color-scheme:dark){{:root{{{DARK}{dark}}}}}{STYLE}</style></head>\
         <body><h1>{name}</h1>\n<section class=\"plots\">{plots}</section>\n{}</body></html>\n",
        tables(&markdown(document))
    )
}

const LIGHT: &str =
    "color-scheme:light dark;--paper:#fff;--ink:#1b1b1b;--dim:#555;--rule:#e4e4e4;--bad:#b3261e;";
const DARK: &str = "--paper:#16181c;--ink:#e8e8e8;--dim:#a8a8a8;--rule:#33373e;--bad:#ff8a80;";
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1320px;margin:2em auto;padding:0 1em;\
    color:var(--ink);background:var(--paper)}h1{font-size:1.4em}h3{margin:2em 0 .5em}.note strong{color:var(--bad)}\
    p{margin:.4em 0}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:1.5em;margin-bottom:1.5em}\
    figure{margin:0}figcaption{font-weight:600}.plot{width:100%;height:auto;display:block}\
    .plot text{font-size:12px;fill:var(--dim)}.plot polyline{fill:none;stroke-width:2}\
    .grid{stroke:var(--rule);stroke-width:1}.legend{font-size:13px}.legend span{margin-right:1.2em;white-space:nowrap}\
    .key{width:28px;height:10px;margin-right:.4em}.key line{stroke-width:3}\
    .wide{overflow-x:auto}table{border-collapse:collapse;margin:.8em 0}\
    td,th{padding:.2em .8em;border-bottom:1px solid var(--rule);\
    text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td:first-child,th:first-child{text-align:left}";

/// Throughput against latency, where there are several loads.
fn loads(document: &Document, servers: usize) -> Option<Plot> {
    let loads: Vec<&Load> = document.runs.iter().map(|r| &r.load).collect();
    if loads.windows(2).all(|w| w[0] == w[1]) {
        return None;
    }
    let point =
        |run: &Run, latency: Option<f64>| Some((run.summary.output_tokens_per_second?.value, latency?));
    let mut curves = Vec::new();
    for server in 0..servers {
        let name = |what: &str| {
            if servers > 1 { format!("{}: {what}", letter(server)) } else { what.to_owned() }
        };
        // In the order of the loads, so that a line goes on where throughput falls again.
        let mut runs: Vec<&Run> = document.runs.iter().filter(|r| r.server == server).collect();
        runs.sort_by(|a, b| amount(&a.load).total_cmp(&amount(&b.load)));
        let points = |of: fn(&Run) -> Option<f64>| runs.iter().filter_map(|r| point(r, of(r))).collect();
        for (i, (what, points)) in (0..).zip([
            ("TTFT p50", points(|r| r.summary.ttft_ms.map(|d| d.p50.value))),
            ("TTFT p99", points(|r| r.summary.ttft_ms.map(|d| d.p99.value))),
            ("ITL p99", points(|r| r.summary.itl_ms.map(|d| d.p99.value))),
        ]) {
            let look = if servers > 1 { Look::of(server, i) } else { Look::number(i) };
            curves.push(Curve { name: name(what), points, mark: Mark::Dots, look });
        }
    }
    Some(Plot {
        title: "Latency as the load rises".to_owned(),
        x: ("output tokens/s".to_owned(), Scale::Linear),
        y: ("ms".to_owned(), Scale::Log),
        curves,
    })
}

/// How much a load is.
fn amount(load: &Load) -> f64 {
    match load {
        Load::Closed { concurrency } => *concurrency as f64,
        Load::Open { rate, .. } => *rate,
    }
}

/// A run's name and look among the others. Of two servers each has its colour, whatever the round; else each load has.
fn looks(document: &Document, run: &Run) -> (String, Look) {
    let mut loads: Vec<&Load> = Vec::new();
    for run in &document.runs {
        if !loads.contains(&&run.load) {
            loads.push(&run.load);
        }
    }
    let load = loads.iter().position(|load| **load == run.load).unwrap_or(0);
    if document.servers.len() > 1 {
        let name = format!("{}: {}", letter(run.server), run.load.label());
        return (name, Look::of(run.server, load));
    }
    (run.load.label(), Look::number(load))
}

/// How latencies are distributed: the share of requests, or tokens, that waited at most so long.
fn distributions(document: &Document) -> Vec<Plot> {
    let of = |run: &Run, value: fn(&Record) -> Option<f64>| {
        let answered = run.records.iter().filter(|r| r.phase == Phase::Measured && r.is_done());
        let mut values: Vec<f64> = answered.filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let step = n.div_ceil(MOST_POINTS).max(1);
        let kept = values.into_iter().enumerate().filter(move |(i, _)| i % step == 0 || i + 1 == n);
        kept.map(|(i, v)| (v, (i + 1) as f64 / n as f64 * 100.0)).collect()
    };
    let plot = |name: &str, points: &dyn Fn(&Run) -> Vec<(f64, f64)>| Plot {
        title: format!("{name}: % within so long"),
        x: ("ms".to_owned(), Scale::Log),
        y: ("%".to_owned(), Scale::Linear),
        curves: document
            .runs
            .iter()
            .map(|run| {
                let (name, look) = looks(document, run);
                Curve { name, points: points(run), mark: Mark::Line, look }
            })
            .collect(),
    };
    vec![
        plot("Time to first token", &|run| of(run, |r| r.ttft_ms)),
        plot("Time between tokens", &gaps),
        plot("End to end", &|run| of(run, |r| r.e2e_ms)),
    ]
}

fn gaps(run: &Run) -> Vec<(f64, f64)> {
    let mut dense = std::collections::BTreeMap::<u16, u64>::new();
    for record in run.records.iter().filter(|r| r.phase == Phase::Measured && r.is_done()) {
        for &(index, n) in record.itl.buckets() {
            *dense.entry(index).or_default() += u64::from(n);
        }
    }
    let weighted = Weighted(dense.iter().map(|(&i, &n)| (middle_ms(i), n)));
    let shares: [f64; QUANTILES] = std::array::from_fn(|i| i as f64 / (QUANTILES - 1) as f64);
    let points = weighted.quantiles(shares).map(|found| found.into_iter().zip(shares));
    points.into_iter().flatten().map(|(v, share)| (v, share * 100.0)).collect()
}

/// What happened when.
fn times(document: &Document) -> Vec<Plot> {
    let plot = |name: &str, unit: &str, value: fn(&crate::Second) -> Option<f64>| {
        let curve = |run: &Run| {
            // The last second is not a whole one, and would look like a fall.
            let whole = match &run.series[..] {
                [whole @ .., _] if whole.len() > 1 => whole,
                all => all,
            };
            let step = whole.len().div_ceil(MOST_POINTS).max(1);
            // Of several seconds that fall on one point, the mean.
            let mean = |(i, part): (usize, &[crate::Second])| {
                let values: Vec<f64> = part.iter().filter_map(value).collect();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                (!values.is_empty()).then_some(((i * step) as f64, mean))
            };
            let points = whole.chunks(step).enumerate().filter_map(mean).collect();
            let (name, look) = looks(document, run);
            Curve { name, points, mark: Mark::Line, look }
        };
        Plot {
            title: name.to_owned(),
            x: ("s".to_owned(), Scale::Linear),
            y: (unit.to_owned(), Scale::Linear),
            curves: document.runs.iter().map(curve).collect(),
        }
    };
    vec![
        plot("Tokens a second", "tokens/s", |s| Some(s.tokens)),
        plot("Requests under way", "requests", |s| Some(s.running)),
        plot("Time to first token of requests due then", "ms", |s| s.ttft_ms),
    ]
}

/// Our own Markdown as HTML: headings, tables, lists, bold text, and lines.
fn tables(markdown: &str) -> String {
    let mut out = String::new();
    let mut in_table = false;
    for line in markdown.lines() {
        let cells: Option<Vec<&str>> =
            line.strip_prefix('|').map(|l| l.trim_end_matches('|').split('|').map(str::trim).collect());
        if in_table && cells.is_none() {
            out += "</table></div>\n";
            in_table = false;
        }
        // Writing to a string does not fail.
        let _ = match cells {
            Some(cells)
                if cells.iter().all(|c| c.trim_matches([':', '-']).is_empty() && c.contains("---")) =>
            {
                Ok(())
            }
            Some(cells) => {
                let tag = if in_table { "td" } else { "th" };
                let row: String = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", inline(c))).collect();
                let open = if in_table { "" } else { "<div class=\"wide\"><table>" };
                in_table = true;
                writeln!(out, "{open}<tr>{row}</tr>")
            }
            None if line.is_empty() => Ok(()),
            None => match (line.strip_prefix("### "), line.strip_prefix("- ")) {
                (Some(heading), _) => writeln!(out, "<h3>{}</h3>", inline(heading)),
                (None, Some(item)) => writeln!(out, "<p class=\"note\">• {}</p>", inline(item)),
                (None, None) => writeln!(out, "<p>{}</p>", inline(line)),
            },
        };
    }
    if in_table {
        out += "</table></div>\n";
    }
    out
}

/// Text with `**bold**` parts.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.split("**").enumerate() {
        let part = escape(part);
        out += &if i % 2 == 1 { format!("<strong>{part}</strong>") } else { part };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_tables_and_text_stays_text() {
        let html = tables("head <x>\n\n### One\n\n| a | b |\n| --- | ---: |\n| 1 | **2** |\n- point\n");
        assert_eq!(
            html,
            "<p>head &lt;x&gt;</p>\n<h3>One</h3>\n<div class=\"wide\"><table><tr><th>a</th><th>b</th></tr>\n\
             <tr><td>1</td><td><strong>2</strong></td></tr>\n</table></div>\n<p class=\"note\">• point</p>\n"
        );
    }
}
