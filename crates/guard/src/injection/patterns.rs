//! Attacks that have a form which nothing innocent has. What can also be quoted in an article, such as
//! "ignore all previous instructions", is left to the classifier, which sees the words around it.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::Reason;
use super::classifier::Hit;

/// Expressions of the linear-time engine; case does not count, and what repeats is bounded.
const PATTERNS: [(Reason, &str); 5] = [
    // The end of a turn and the beginning of a system's, in one message.
    (
        Reason::Forgery,
        r"(?:<\|im_end\|>|<\|eot_id\|>|</s>)\s{0,8}<\|(?:im_start|start_header_id)\|>\s{0,8}(?:system|developer)",
    ),
    (Reason::Forgery, r"\[/inst\][^\[]{0,200}\[inst\]\s{0,8}<<sys>>"),
    // An image whose address carries what was said.
    (
        Reason::Exfiltration,
        r"!\[[^\]\n]{0,80}\]\(\s?https?://[^)\s]{1,200}[?&/=](?:\{\{?|<|\[|%7b|the |your |all |everything|user_?(?:data|secrets?)|conversation|chat_?history|secrets?\b|password|api_?key|system_?prompt)",
    ),
    // A comment that a page hides from people, for a model to read.
    (
        Reason::Hijack,
        r"<!--[^>]{0,80}\b(?:ai|llm|llms|assistant|language model|chatbot|agent)s?\b[^>]{0,20}:[^>]{0,200}\b(?:ignore|must|tell|instead|send|call|run|rate|give|say)\b",
    ),
    (Reason::Extraction, r"\b(?:starting|beginning) with [\x22'“]you are [\x22'”]?"),
];

struct Patterns {
    any: RegexSet,
    each: Vec<(Reason, Regex)>,
}

static SET: LazyLock<Option<Patterns>> = LazyLock::new(|| {
    let expression = |p: &str| format!("(?i){p}");
    let any = RegexSet::new(PATTERNS.iter().map(|(_, p)| expression(p))).ok()?;
    let each = PATTERNS.iter().map(|(reason, p)| Some((*reason, Regex::new(&expression(p)).ok()?)));
    Some(Patterns { any, each: each.collect::<Option<_>>()? })
});

pub(super) fn attacks(text: &str) -> Vec<Hit> {
    let Some(patterns) = &*SET else { return Vec::new() };
    let hits = patterns.any.matches(text).into_iter().filter_map(|i| {
        let (reason, regex) = patterns.each.get(i)?;
        let range: Range<usize> = regex.find(text)?.range();
        Some(Hit { range, reason: *reason, confidence: 0.95 })
    });
    hits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_compiles() {
        assert!(SET.is_some());
    }
}
