//! A document as Markdown, which is what the terminal shows too.

use std::fmt::Write;

use crate::compare::{CompareError, Compared, Verdict, compare_files, compare_servers};
use crate::document::{Completeness, Document, Run};
use crate::figure::{Distribution, Figure};
use crate::search::{self, Found, Sureness};

/// Send times later than this are worth a warning: the harness, or its machine, was too slow.
const LATE_MS: f64 = 5.0;

/// More of the prompts from a cache changes what is measured: a run that is repeated meets what the first one left.
const CACHED: f64 = 0.1;

/// The whole document.
pub fn markdown(document: &Document) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = head(document, &mut out);
    if document.runs.len() > 1 {
        let _ = overview(document, &mut out);
    }
    if document.servers.len() == 2 {
        let _ = ratios(&compare_servers(document), &mut out);
    }
    for run in &document.runs {
        let _ = details(document, run, &mut out);
    }
    // The same of all runs, nearly always.
    let mut unknown: Vec<&str> = Vec::new();
    for why in document.runs.iter().flat_map(|run| &run.energy_unknown) {
        if !unknown.contains(&why.as_str()) {
            unknown.push(why);
        }
    }
    if !unknown.is_empty() {
        let _ = writeln!(out, "\nEnergy is not known {}.", unknown.join("; "));
    }
    out
}

/// Two results beside each other.
///
/// # Errors
/// If they have no load in common.
pub fn comparison_of_files(first: &Document, second: &Document) -> Result<String, CompareError> {
    let mut out = String::new();
    for (letter, document) in [('A', first), ('B', second)] {
        let urls: Vec<&str> = document.servers.iter().map(|s| s.url.as_str()).collect();
        let _ = writeln!(out, "{letter}: {} · {}", urls.join(", "), document.dataset);
    }
    let _ = ratios(&compare_files(first, second)?, &mut out);
    Ok(out)
}

fn ratios(compared: &[Compared], out: &mut String) -> std::fmt::Result {
    for compared in compared {
        let Compared { load, rounds, failed, ratios } = compared;
        writeln!(
            out,
            "\n### {}, {rounds} {}\n",
            load.label(),
            if *rounds == 1 { "round" } else { "rounds" }
        )?;
        if *rounds < 3 {
            writeln!(
                out,
                "Too few rounds to see how the machines drift: intervals are of the requests alone.\n"
            )?;
        }
        if failed.iter().any(|n| *n > 0) {
            writeln!(
                out,
                "**Failed requests: A {}, B {}; their times are in no figure.**\n",
                failed[0], failed[1]
            )?;
        }
        writeln!(out, "| | A | B | B / A | 95% interval | better |")?;
        writeln!(out, "| --- | ---: | ---: | ---: | :---: | --- |")?;
        for r in ratios {
            let span = r.low.zip(r.high).map_or(String::new(), |(l, h)| format!("{l:.3} to {h:.3}"));
            let better = match r.verdict {
                Verdict::First => "A",
                Verdict::Second => "B",
                Verdict::Open => "cannot be told",
            };
            let (a, b) = (number(r.first), number(r.second));
            writeln!(out, "| {} | {a} | {b} | {:.3} | {span} | {better} |", r.metric, r.ratio)?;
        }
    }
    Ok(())
}

fn head(document: &Document, out: &mut String) -> std::fmt::Result {
    for (i, server) in document.servers.iter().enumerate() {
        let name = if document.servers.len() > 1 { format!("{}: ", letter(i)) } else { String::new() };
        writeln!(out, "{name}{} ({}), {}", server.url, server.models.join(", "), server.endpoint.path())?;
    }
    writeln!(out, "{}", document.dataset)?;
    let machine = &document.machine;
    writeln!(
        out,
        "harness: garrison {} on {} threads of {}",
        document.garrison, machine.cores, machine.processor
    )?;
    match document.completeness {
        Completeness::Complete => {}
        Completeness::Interrupted => {
            writeln!(out, "\n**Stopped before its end; this is what there was by then.**")?
        }
        Completeness::Killed => writeln!(out, "\n**Killed; this is what there was by then.**")?,
    }
    if let Some(found) = &document.search {
        searched(document, found, out)?;
    }
    Ok(())
}

/// What a search found, what each rate said of the goals, and how sure that is.
fn searched(document: &Document, found: &Found, out: &mut String) -> std::fmt::Result {
    let failing = found
        .lowest_failing
        .map_or("no rate that was tried fails".to_owned(), |r| format!("{} requests/s do not", number(r)));
    writeln!(
        out,
        "\n**Highest rate whose 99th percentiles keep to the goals: {} requests/s**; {failing}. Each was held for {} s \
         at least.",
        number(found.highest_rate),
        number(found.held_seconds)
    )?;
    writeln!(
        out,
        "\n| requests/s | goal, ms | requests | failed | beyond it, of 1% | 95% interval | this rate |"
    )?;
    writeln!(out, "| ---: | --- | ---: | ---: | ---: | :---: | --- |")?;
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    for (rate, run) in search::probes(document) {
        let counts = run.summary.requests;
        for kept in search::against(run, document.goals) {
            let verdict = match (found.unsent_rate == Some(rate), kept.keeps, kept.sureness) {
                (true, ..) => "no verdict: the harness was late",
                (_, true, Sureness::Sure) => "keeps to it",
                (_, true, Sureness::Open) => "keeps to it, perhaps by chance",
                (_, false, Sureness::Sure) => "does not",
                (_, false, Sureness::Open) => "does not, perhaps by chance",
            };
            let (low, high) = kept.span;
            writeln!(
                out,
                "| {} | {} {} | {} | {} | {} | {} to {} | {verdict} |",
                number(rate),
                kept.name,
                number(kept.goal_ms),
                counts.measured,
                counts.failed,
                percent(kept.beyond),
                percent(low),
                percent(high),
            )?;
        }
    }
    let highest = search::probes(document).into_iter().find(|(rate, _)| *rate == found.highest_rate);
    let Some((rate, run)) = highest else { return Ok(()) };
    writeln!(out)?;
    if search::against(run, document.goals).iter().any(|kept| kept.sureness == Sureness::Open) {
        writeln!(
            out,
            "- so few requests cannot tell whether more than 1% are beyond a goal at {} requests/s: hold it longer \
             with --seconds",
            number(rate)
        )?;
    }
    if search::rises(run) {
        writeln!(
            out,
            "- **at {} requests/s the time to first token was still rising: held longer with --seconds, it may not keep \
             to the goals**",
            number(rate)
        )?;
    }
    if let Some(unsent) = found.unsent_rate {
        writeln!(
            out,
            "- **the harness could not send {} requests/s in time, which says nothing of the server: the search ended \
             there**",
            number(unsent)
        )?;
    }
    Ok(())
}

/// How servers are told apart where there are two.
pub(crate) fn letter(server: usize) -> char {
    char::from(b'A' + (server % 26) as u8)
}

fn overview(document: &Document, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "\n| run | requests | failed | TTFT p50 | TTFT p99 | ITL p50 | ITL p99 | output tokens/s | requests/s |"
    )?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for run in &document.runs {
        let s = &run.summary;
        let of = |d: &Option<Distribution>, pick: fn(&Distribution) -> Figure| {
            d.as_ref().map_or("–".to_owned(), |d| number(pick(d).value))
        };
        let rate = |f: &Option<Figure>| f.map_or("–".to_owned(), |f| number(f.value));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            title(document, run),
            s.requests.answered,
            s.requests.failed,
            of(&s.ttft_ms, |d| d.p50),
            of(&s.ttft_ms, |d| d.p99),
            of(&s.itl_ms, |d| d.p50),
            of(&s.itl_ms, |d| d.p99),
            rate(&s.output_tokens_per_second),
            rate(&s.requests_per_second),
        )?;
    }
    Ok(())
}

/// A run in a few words.
fn title(document: &Document, run: &Run) -> String {
    let mut title = run.load.label();
    if document.servers.len() > 1 {
        title = format!("{} round {}: {title}", letter(run.server), run.round + 1);
    }
    title
}

fn details(document: &Document, run: &Run, out: &mut String) -> std::fmt::Result {
    let s = &run.summary;
    writeln!(out, "\n### {}\n", title(document, run))?;
    let c = s.requests;
    write!(out, "{} of {} measured requests answered in {:.1} s", c.answered, c.measured, s.window_seconds)?;
    if c.cut_off > 0 {
        write!(out, ", {} cut off", c.cut_off)?;
    }
    writeln!(out, "; {} before and after them do not count.", c.around)?;
    troubles(run, out)?;
    writeln!(out, "\n| ms | mean | 95% interval | p50 | p90 | p95 | p99 | max |")?;
    writeln!(out, "| --- | ---: | :---: | ---: | ---: | ---: | ---: | ---: |")?;
    for (name, d) in [
        ("time to first token", &s.ttft_ms),
        ("between tokens", &s.itl_ms),
        ("per output token", &s.tpot_ms),
        ("end to end", &s.e2e_ms),
        ("longest stall", &s.stall_ms),
        ("server's queue", &s.queue_ms),
        ("sent late", &s.harness_late_ms),
        ("lay unread, at most", &s.unread_ms),
    ] {
        let Some(d) = d else { continue };
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} | {} | {} |",
            number(d.mean.value),
            span(&d.mean),
            number(d.p50.value),
            number(d.p90.value),
            number(d.p95.value),
            number(d.p99.value),
            number(d.max)
        )?;
    }
    rates(document, run, out)
}

/// What should not be overlooked.
fn troubles(run: &Run, out: &mut String) -> std::fmt::Result {
    let s = &run.summary;
    for (what, n) in &s.failures {
        writeln!(out, "- **failed: {n} × {what}**{}", example(run, what))?;
    }
    for (what, n) in &s.oddities {
        writeln!(out, "- {n} × {what}")?;
    }
    for (how, n) in s.counted_by.iter().filter(|(how, _)| **how != crate::CountedBy::Events.label()) {
        writeln!(out, "- tokens of {n} answers counted by {how}")?;
    }
    if let Some(share) = s.merged_share.filter(|share| *share > 0.0) {
        let unread = s.unread_ms.map_or(0.0, |d| d.max);
        // Whoever reads in time finds apart what came apart.
        let whose = if unread < LATE_MS { "they came so" } else { "the harness may have been too slow" };
        writeln!(
            out,
            "- **{:.2}% of all tokens were read together with later ones, so only the latest possible times of them \
             are known: up to {:.2}% of the times between tokens are wrong (0, or too long), and their percentiles \
             off by as many ranks; means are right. Nothing lay unread for longer than {} ms, so {whose}**",
            share * 100.0,
            (2.0 * share).min(1.0) * 100.0,
            number(unread)
        )?;
    }
    if let Some(share) = s.cached_share.filter(|share| *share > CACHED) {
        writeln!(
            out,
            "- {:.1}% of the prompts' tokens came from the server's cache: where that is not what is measured, another \
             --seed asks what it has not seen",
            share * 100.0
        )?;
    }
    if let Some(late) = s.harness_late_ms.filter(|d| d.p99.value > LATE_MS) {
        writeln!(
            out,
            "- **the harness was late: p99 {} ms; latencies count from the due time, so it is in them**",
            number(late.p99.value)
        )?;
    }
    Ok(())
}

/// What the first of these failures said.
fn example(run: &Run, label: &str) -> String {
    let first = run.records.iter().find(|r| r.is_failure() && r.outcome.label() == label);
    first.filter(|r| !r.detail.is_empty()).map_or(String::new(), |r| {
        let said: String = r.detail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!(", e.g. \"{said}\"")
    })
}

fn rates(document: &Document, run: &Run, out: &mut String) -> std::fmt::Result {
    let s = &run.summary;
    writeln!(out, "\n| | | 95% interval |")?;
    writeln!(out, "| --- | ---: | :---: |")?;
    for (name, figure) in [
        ("output tokens/s", &s.output_tokens_per_second),
        ("prompt tokens/s", &s.prompt_tokens_per_second),
        ("total tokens/s", &s.total_tokens_per_second),
        ("requests/s", &s.requests_per_second),
    ] {
        if let Some(figure) = figure {
            writeln!(out, "| {name} | {} | {} |", number(figure.value), span(figure))?;
        }
    }
    for (name, d) in
        [("tokens of a prompt, mean", &s.prompt_tokens), ("tokens of an answer, mean", &s.output_tokens)]
    {
        if let Some(d) = d {
            writeln!(out, "| {name} | {} | {} |", number(d.mean.value), span(&d.mean))?;
        }
    }
    if let Some(goodput) = &s.goodput {
        let share = goodput.share.unwrap_or(Figure::bare(0.0));
        let span = share
            .low
            .zip(share.high)
            .map_or("".to_owned(), |(l, h)| format!("{:.1}% to {:.1}%", l * 100.0, h * 100.0));
        writeln!(out, "| keep to the goals | {:.1}% | {span} |", share.value * 100.0)?;
        writeln!(out, "| goodput, requests/s | {} | |", number(goodput.requests_per_second))?;
    }
    for (name, share) in
        [("prompt tokens from the cache", s.cached_share), ("guessed tokens kept", s.accepted_share)]
    {
        if let Some(share) = share {
            writeln!(out, "| {name} | {:.1}% | |", share * 100.0)?;
        }
    }
    let tokens = s.output_tokens_per_second.map(|f| f.value).filter(|rate| *rate > 0.0);
    let joules: f64 = run.energy.iter().map(|e| e.joules).sum();
    if joules > 0.0 {
        let names: Vec<&str> = run.energy.iter().map(|e| e.source.as_str()).collect();
        writeln!(out, "| energy of {}, J | {} | |", names.join(", "), number(joules))?;
        let all: u64 = run.records.iter().map(|r| u64::from(r.output_tokens)).sum();
        writeln!(out, "| J an output token | {} | |", number(joules / all.max(1) as f64))?;
    }
    if let Some((usd, tokens)) = document.servers[run.server].usd_per_hour.zip(tokens) {
        writeln!(out, "| USD per million output tokens | {} | |", number(usd / 3600.0 / tokens * 1e6))?;
    }
    if let Some(cores) = run.harness_cores {
        writeln!(out, "| cores that the harness took | {cores:.2} | |")?;
    }
    Ok(())
}

/// A figure's interval, or nothing.
pub(crate) fn span(figure: &Figure) -> String {
    figure.low.zip(figure.high).map_or(String::new(), |(l, h)| format!("{} to {}", number(l), number(h)))
}

/// Three or four digits, as many as mean something.
pub(crate) fn number(x: f64) -> String {
    let size = x.abs();
    if size >= 1000.0 {
        // Thousands apart, so that large numbers can be read.
        let digits = format!("{size:.0}");
        let mut grouped = String::new();
        for (i, c) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(c);
        }
        return if x < 0.0 { format!("-{grouped}") } else { grouped };
    }
    match size {
        s if s >= 100.0 => format!("{x:.1}"),
        s if s >= 1.0 => format!("{x:.2}"),
        s if s >= 0.0005 => format!("{x:.3}"),
        _ => format!("{}", (x * 1e6).round() / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        let shown = [1234567.8, 999.96, 12.345, 0.12345, 0.0, -4321.0].map(number);
        assert_eq!(shown, ["1,234,568", "1000.0", "12.35", "0.123", "0", "-4,321"]);
    }
}
