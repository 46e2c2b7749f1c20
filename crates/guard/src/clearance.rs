//! What may leave: [`Cleared`] bytes, which only the guard can make.
//!
//! A [`Clearance`] judges exact bytes against every detector that the owner demands. Only if each of
//! them is there, answers in its time and finds nothing are the bytes cleared; a detector that is
//! missing, fails, panics or is late means that they stay. Each decision leaves a receipt first, and
//! where that cannot be written nothing leaves either.

mod finder;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::normalize::{Limits, unfold};
use crate::receipts::{Decision, Verdict};
use crate::scan::Scanner;
use crate::taint::{Taint, Tainted};
use crate::workers::{Bound, NotDone, Workers};

pub use finder::FinderDetector;

/// Looks for something that must not leave.
pub trait Detector: Send + Sync {
    /// Its name and version, as receipts have it.
    fn id(&self) -> &str;

    /// What it finds in a text: names of entities or rules, never content.
    ///
    /// # Errors
    /// If it cannot tell.
    fn detect(&self, text: &str) -> Result<Vec<String>, DetectorError>;

    /// What bounds its time. Where the length of a text does it may run where it is asked. Others have a thread that
    /// can be left behind, which costs a text of a kilobyte more than it takes to be read.
    fn bound(&self) -> Bound {
        Bound::None
    }
}

/// Finds personal data that has no form, as a model of names does, and tells where it stands.
pub trait Finder: Send + Sync {
    /// Its name and version, as receipts have it.
    fn id(&self) -> &str;

    /// What it finds in a text: the names of entities, each with its bytes of the text.
    ///
    /// # Errors
    /// If it cannot tell.
    fn find(&self, text: &str) -> Result<Vec<Named>, DetectorError>;
}

/// Something that a [`Finder`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What placeholders and reports call it: capitals, digits and underscores.
    pub entity: String,
    /// Bytes of the text, on character borders.
    pub range: Range<usize>,
    /// How sure that is, in percent.
    pub confidence: u8,
}

/// A detector could not tell.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DetectorError(pub String);

/// The recognizers of personal data and secrets as a detector, for a text and all that it decodes to.
#[derive(Debug)]
pub struct ScanDetector(pub Arc<Scanner>);

impl Detector for ScanDetector {
    fn id(&self) -> &str {
        concat!("patterns/", env!("CARGO_PKG_VERSION"))
    }

    /// What is in the text or in anything that it decodes to. If a bound cut the decoding there may be more,
    /// so it cannot tell.
    fn detect(&self, text: &str) -> Result<Vec<String>, DetectorError> {
        let unfolded = unfold(text, &Limits::for_len(text.len()));
        if unfolded.truncated() {
            return Err(DetectorError("a bound was reached before all decodings were seen".into()));
        }
        let mut names: Vec<String> = Vec::new();
        for view in unfolded.views() {
            names.extend(self.0.scan(view.text()).iter().map(|found| self.0.name(found.entity).to_owned()));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Its expressions take time linear in the text, and decoding has bounds.
    fn bound(&self) -> Bound {
        Bound::Length
    }
}

/// Something that can leave: exact bytes, which are judged as UTF-8 text.
pub trait Outgoing {
    /// The very bytes that would be sent. Asked for once to be judged, and again wherever they are given out.
    fn bytes(&self) -> &[u8];

    /// Which of them are pictures that the owner lets leave unread, in order. No detector is shown these, as long as they
    /// are nothing but Base64: it would take noise for names and numbers, and could not see what is on them.
    fn unread(&self) -> &[Range<usize>] {
        &[]
    }
}

impl Outgoing for String {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Outgoing for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Something that may leave. Only [`Clearance::judge`] makes one, and it cannot be changed:
///
/// ```compile_fail,E0451
/// // Its fields are private, so nobody else can make one.
/// let forged = garrison_guard::Cleared { value: String::from("secret"), digest: [0; 32], receipt: 0 };
/// ```
///
/// ```compile_fail,E0308
/// fn send(request: &garrison_guard::Cleared<String>) {}
/// send(&String::from("not judged"));
/// ```
///
/// ```compile_fail,E0596
/// fn change(request: &mut garrison_guard::Cleared<String>) {
///     request.get().push_str("one more secret");
/// }
/// ```
///
/// ```
/// fn send(request: &garrison_guard::Cleared<String>) -> usize {
///     request.get().len()
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Cleared<T> {
    value: T,
    digest: [u8; 32],
    receipt: u64,
}

impl<T: Outgoing> Cleared<T> {
    /// What may be sent.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// The bytes that may be sent, if they are still those that were judged. A value whose bytes can
    /// change behind its face (through a cell) does not get out.
    pub fn bytes(&self) -> Option<&[u8]> {
        let bytes = self.value.bytes();
        (digest(bytes) == self.digest).then_some(bytes)
    }

    /// The receipt of the decision.
    pub fn receipt(&self) -> u64 {
        self.receipt
    }
}

/// Why something stays here.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Something was found in it.
    #[error("it holds {}", .0.join(", "))]
    Found(Vec<String>),
    /// It, or something that it was made of, is tainted.
    #[error("it was made of what stays here")]
    Tainted,
    /// It is no text, so nothing could be looked for.
    #[error("it is no text")]
    NoText,
    /// Its bytes are not those that were judged.
    #[error("it changed while it was judged")]
    Changed,
    /// There is no detector, or not each that is demanded.
    #[error("the detector {0} is missing")]
    Missing(String),
    /// A detector could not tell.
    #[error("the detector {0} failed")]
    Failed(String),
    /// A detector took too long.
    #[error("the detector {0} took longer than {1:?}")]
    Late(String, Duration),
    /// The decision could not be recorded.
    #[error("its receipt cannot be written: {0}")]
    Receipt(#[from] Unrecorded),
}

/// Writes decisions down. What is not written down does not leave.
pub trait Ledger: Send + Sync {
    /// Writes one, and gives its receipt's number once that is on the disk. It may wait.
    ///
    /// # Errors
    /// If it cannot.
    fn record(&self, decision: Decision) -> Result<u64, Unrecorded>;

    /// Whether that waits for a disk or another thread.
    fn waits(&self) -> bool {
        true
    }
}

/// A decision was not written down.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unrecorded(pub String);

/// Time that a detector has: a start, and so much for each kilobyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// For any text.
    pub start: Duration,
    /// For each kilobyte.
    pub per_kilobyte: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { start: Duration::from_millis(250), per_kilobyte: Duration::from_millis(5) }
    }
}

impl Budget {
    /// What a text of so many bytes has.
    pub fn of(&self, bytes: usize) -> Duration {
        let kilobytes = u32::try_from(bytes.div_ceil(1000)).unwrap_or(u32::MAX);
        self.start.saturating_add(self.per_kilobyte.saturating_mul(kilobytes))
    }
}

/// Judges what may leave.
pub struct Clearance {
    detectors: Vec<Arc<dyn Detector>>,
    demanded: Vec<String>,
    budget: Budget,
    ledger: Arc<dyn Ledger>,
    workers: Workers,
}

/// Detectors at work at most; more fail at once, so that slow ones do not fill the machine.
const MAX_WORKING: usize = 16;

/// Bytes that are judged in less than a thread takes to be woken and to wake another: 24 microseconds a kilobyte on a
/// core of 2023, and signing is 20.
const QUICK_BYTES: usize = 8 << 10;

impl Clearance {
    /// With detectors, the names (up to their `/`) of those that must be among them, the time each has,
    /// and where receipts go.
    pub fn new(
        detectors: Vec<Arc<dyn Detector>>,
        demanded: Vec<String>,
        budget: Budget,
        ledger: Arc<dyn Ledger>,
    ) -> Clearance {
        Clearance { detectors, demanded, budget, ledger, workers: Workers::new(MAX_WORKING) }
    }

    /// Whether judging something of so many bytes takes so little, and waits for nothing, that a task may do it.
    pub fn is_quick(&self, bytes: usize) -> bool {
        bytes <= QUICK_BYTES
            && !self.ledger.waits()
            && self.detectors.iter().all(|d| d.bound() == Bound::Length)
    }

    /// Judges something on its way to `tier`, which is written into the receipt. It may wait unless it is
    /// [quick](Clearance::is_quick), so it is for a thread that may.
    ///
    /// # Errors
    /// If it must stay.
    pub fn judge<T: Outgoing>(&self, outgoing: Tainted<T>, tier: &str) -> Result<Cleared<T>, Refused> {
        let (judged, outcome) = {
            // Asked for once, so that what is judged is what the digest is of.
            let bytes = outgoing.value.bytes();
            (digest(bytes), self.decide(bytes, outgoing.value.unread(), outgoing.taint))
        };
        let is_same = || digest(outgoing.value.bytes()) == judged;
        let outcome = outcome.and_then(|()| if is_same() { Ok(()) } else { Err(Refused::Changed) });
        let verdict = match &outcome {
            Ok(()) => Verdict::Cleared,
            Err(Refused::Found(names)) => Verdict::Held { reason: "found".into(), found: names.clone() },
            Err(Refused::Tainted) => Verdict::Held { reason: "tainted".into(), found: vec![] },
            Err(other) => Verdict::Held { reason: other.to_string(), found: vec![] },
        };
        let detectors = self.detectors.iter().map(|detector| detector.id().to_owned()).collect();
        let receipt =
            self.ledger.record(Decision { verdict, detectors, tier: tier.to_owned(), digest: judged })?;
        outcome.map(|()| Cleared { value: outgoing.value, digest: judged, receipt })
    }

    fn decide(&self, bytes: &[u8], unread: &[Range<usize>], taint: Taint) -> Result<(), Refused> {
        if taint == Taint::Local {
            return Err(Refused::Tainted);
        }
        if self.detectors.is_empty() {
            return Err(Refused::Missing("of any kind".into()));
        }
        let there = |name: &String| self.detectors.iter().any(|d| d.id().split('/').next() == Some(name));
        if let Some(missing) = self.demanded.iter().find(|name| !there(name)) {
            return Err(Refused::Missing(missing.clone()));
        }
        let text = readable(std::str::from_utf8(bytes).map_err(|_| Refused::NoText)?, unread);
        let mut found = Vec::new();
        for detector in &self.detectors {
            found.extend(run(detector, &text, self.budget.of(text.len()), &self.workers)?);
        }
        if found.is_empty() { Ok(()) } else { Err(Refused::Found(found)) }
    }
}

/// A text without what goes unread. Ranges that are none of the text's, or hold anything but Base64, are read.
fn readable<'a>(text: &'a str, unread: &[Range<usize>]) -> Cow<'a, str> {
    let is_base64 = |data: &str| {
        data.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
    };
    let (mut at, mut out) = (0, String::new());
    for range in unread {
        let (before, data) = (text.get(at..range.start), text.get(range.clone()));
        if let (Some(before), Some(true)) = (before, data.map(is_base64)) {
            out.push_str(before);
            at = range.end;
        }
    }
    if at == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(at..).unwrap_or_default());
    Cow::Owned(out)
}

/// Runs a detector.
fn run(
    detector: &Arc<dyn Detector>,
    text: &str,
    time: Duration,
    workers: &Workers,
) -> Result<Vec<String>, Refused> {
    let id = || detector.id().to_owned();
    let (worker, text) = (Arc::clone(detector), text.to_owned());
    match workers.run(detector.bound(), time, move || worker.detect(&text)) {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) | Err(NotDone::Panicked | NotDone::Busy) => Err(Refused::Failed(id())),
        Err(NotDone::Late(time)) => Err(Refused::Late(id(), time)),
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipts::{LogConfig, ReceiptLog, SigningKey, verify};
    use crate::scan::ScanConfig;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    impl Ledger for Mutex<ReceiptLog> {
        fn record(&self, decision: Decision) -> Result<u64, Unrecorded> {
            self.lock().unwrap().record(decision).map_err(|error| Unrecorded(error.to_string()))
        }
    }

    fn log(folder: &std::path::Path) -> ReceiptLog {
        let config = LogConfig::new(folder.join("receipts.jsonl"));
        ReceiptLog::open(config, SigningKey::from_seed([7; 32])).unwrap()
    }

    struct Fake(&'static str, fn() -> Result<Vec<String>, DetectorError>);

    impl Detector for Fake {
        fn id(&self) -> &str {
            self.0
        }

        fn detect(&self, _: &str) -> Result<Vec<String>, DetectorError> {
            (self.1)()
        }
    }

    fn clearance(folder: &std::path::Path, detectors: Vec<Arc<dyn Detector>>) -> Clearance {
        writing(log(folder), detectors)
    }

    fn writing(log: ReceiptLog, detectors: Vec<Arc<dyn Detector>>) -> Clearance {
        let budget = Budget { start: Duration::from_secs(3), per_kilobyte: Duration::from_millis(10) };
        Clearance::new(detectors, vec!["patterns".into()], budget, Arc::new(Mutex::new(log)))
    }

    fn patterns() -> Arc<dyn Detector> {
        Arc::new(ScanDetector(Arc::new(Scanner::new(&ScanConfig::default()).unwrap())))
    }

    fn clean(text: &str) -> Tainted<String> {
        Tainted::new(text.to_owned(), Taint::Clean)
    }

    #[test]
    fn only_what_every_detector_lets_pass_is_cleared_and_each_decision_has_a_receipt() {
        let folder = tempfile::tempdir().unwrap();
        let clearance = clearance(folder.path(), vec![patterns()]);
        let cleared = clearance.judge(clean("what is the weather like?"), "remote/model").unwrap();
        assert_eq!((cleared.bytes(), cleared.receipt()), (Some(&b"what is the weather like?"[..]), 0));
        let refused = clearance.judge(clean("mail a@b.example"), "remote/model").unwrap_err();
        assert!(matches!(&refused, Refused::Found(names) if names == &["EMAIL"]), "{refused}");
        let local = clean("hello").join(Tainted::new("chunk".to_owned(), Taint::Local), |a, b| a + &b);
        assert!(matches!(clearance.judge(local.map(|t| t + "!"), "remote/model"), Err(Refused::Tainted)));
        let bytes = Tainted::new(vec![0xFF, 0xFE], Taint::Clean);
        assert!(matches!(clearance.judge(bytes, "remote/model"), Err(Refused::NoText)));
        let key = SigningKey::from_seed([7; 32]).public();
        let report = verify(&folder.path().join("receipts.jsonl"), Some(key)).unwrap();
        assert_eq!(report.receipts, 4);
        let text = std::fs::read_to_string(folder.path().join("receipts.jsonl")).unwrap();
        assert!(!text.contains("a@b.example") && !text.contains("weather"));
    }

    #[test]
    fn a_detector_that_is_missing_fails_panics_or_is_late_clears_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let wrong: [(Vec<Arc<dyn Detector>>, &str); 5] = [
            (vec![], "missing"),
            (vec![Arc::new(Fake("other/1", || Ok(vec![])))], "the detector patterns is missing"),
            (
                vec![patterns(), Arc::new(Fake("bad/1", || Err(DetectorError("no model".into()))))],
                "bad/1 failed",
            ),
            (vec![patterns(), Arc::new(Fake("bad/1", || panic!("oh")))], "bad/1 failed"),
            (
                vec![
                    patterns(),
                    Arc::new(Fake("slow/1", || {
                        std::thread::sleep(Duration::from_secs(60));
                        Ok(vec![])
                    })),
                ],
                "slow/1 took longer",
            ),
        ];
        for (detectors, said) in wrong {
            let refused =
                clearance(folder.path(), detectors).judge(clean("hello"), "remote/model").unwrap_err();
            assert!(refused.to_string().contains(said), "{refused}");
        }
        // And where no receipt can be written.
        let mut broken = log(folder.path());
        broken.break_for_test();
        let clearance = writing(broken, vec![patterns()]);
        assert!(matches!(clearance.judge(clean("hello"), "remote/model"), Err(Refused::Receipt(_))));
    }

    /// Bytes that change behind the value's face: one of these texts after the other.
    struct Shifty(&'static [&'static str], AtomicUsize);

    impl Outgoing for Shifty {
        fn bytes(&self) -> &[u8] {
            self.0[self.1.fetch_add(1, Ordering::Relaxed) % self.0.len()].as_bytes()
        }
    }

    #[test]
    fn a_clearance_is_bound_to_the_bytes_that_were_judged() {
        let folder = tempfile::tempdir().unwrap();
        let clearance = clearance(folder.path(), vec![patterns()]);
        let judge = |texts| {
            clearance.judge(Tainted::new(Shifty(texts, AtomicUsize::new(0)), Taint::Clean), "remote/model")
        };
        assert!(matches!(judge(&["a@b.example", "harmless", "a@b.example"]), Err(Refused::Found(_))));
        assert!(matches!(judge(&["harmless", "a@b.example"]), Err(Refused::Changed)));
        // What changes later does not get out.
        let cleared = judge(&["harmless", "harmless", "a@b.example"]).unwrap();
        assert_eq!(cleared.bytes(), None);
        let key = SigningKey::from_seed([7; 32]).public();
        let report = verify(&folder.path().join("receipts.jsonl"), Some(key)).unwrap();
        assert_eq!((report.receipts, report.cleared), (3, 1), "what changed is not told of as cleared");
    }

    #[test]
    fn what_goes_unread_is_base64_and_nothing_else() {
        let text = "see iVBORw0K and zoe@b.example.";
        assert_eq!(readable(text, std::slice::from_ref(&(4..12))), "see  and zoe@b.example.");
        let wrong = [17..30, 0..31, 25..900];
        assert_eq!(readable(text, &wrong), text);
        assert_eq!(readable(text, &[4..12, 6..8, 8..12]), "see  and zoe@b.example.");
    }

    #[test]
    fn what_is_encoded_or_in_json_is_not_cleared() {
        let detector = patterns();
        for (text, name) in [
            ("YUBiLmV4YW1wbGU=", "EMAIL"),
            ("see YUBiLmV4YW1wbGU= there", "EMAIL"),
            ("a&#64;b.example", "EMAIL"),
            ("a%40b.example", "EMAIL"),
            ("a=40b.example =\n", "EMAIL"),
            (r#"{"to":"a\u0040b.example"}"#, "EMAIL"),
            ("４１１１１１１１１１１１１１１１", "CREDIT_CARD"),
            ("4111\u{200b}1111\u{200b}1111\u{200b}1111", "CREDIT_CARD"),
            ("NDExMTExMTExMTExMTExMQ==", "CREDIT_CARD"),
            ("34313131313131313131313131313131", "CREDIT_CARD"),
            ("616e6e61406d61696c2e6578616d706c65", "EMAIL"),
            (r#"{"content":"Card:\n4111111111111111"}"#, "CREDIT_CARD"),
            (r#"{"content":"Card:\t4111111111111111"}"#, "CREDIT_CARD"),
            (r#"{"content":"\nDE89370400440532013000"}"#, "IBAN"),
            (r#"{"content":"SSN\n219-09-9999\n"}"#, "US_SSN"),
            (r#"{"content":"Call\n+49 30 901820"}"#, "PHONE"),
            (r#"{"content":"Regards,\nAnna Kowalska"}"#, "PERSON"),
            (r#"{"content":"{\"mail\":\"a\\u0040b.example\"}"}"#, "EMAIL"),
        ] {
            let found = detector.detect(text).unwrap();
            assert!(found.iter().any(|found| found == name), "{text}: {found:?}");
        }
        let body = serde_json::json!({
            "model": "m", "temperature": 0.7, "messages": [
                {"role": "system", "content": "You are terse.\nAnswer in Markdown, with \"quotes\" and C:\\new\\table."},
                {"role": "user", "content": "fn main() {\n\tlet x = vec![1, 2];\n\tprintln!(\"{x:?}\\n\");\n}\n\nWhy 1.234,56 €?\n"},
                {"role": "assistant", "content": "| a | b |\n|---|---|\n| 1 | 2 |\n\n<p>1 &lt; 2 &amp; 3</p>\n50% of https://example.org/?q=a%20b+c\n"},
            ]
        });
        let body = body.to_string();
        for text in [
            body.as_str(),
            &serde_json::json!({ "body": body }).to_string(),
            "At 2031-03-12T10:33:12Z order 123456782 cost 1.234,56 EUR, id 123e4567-e89b-12d3-a456-426614174000.",
            "commit 9fceb02d0ae598e95dc970b74767f19372d61af8, 00001010 00001111, 12345678901234567890123456789012",
        ] {
            assert_eq!(detector.detect(text).unwrap(), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_to_its_end_is_not_cleared() {
        let mut text = String::from("nothing in here that anybody would look for, one should think");
        for _ in 0..12 {
            text = text.as_bytes().iter().map(|b| format!("%{b:02X}")).collect::<String>();
            if text.len() > 1 << 20 {
                break;
            }
        }
        assert!(patterns().detect(&text).is_err());
    }
}
