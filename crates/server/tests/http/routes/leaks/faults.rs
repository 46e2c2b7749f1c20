//! The same when something goes wrong, one thing at a time: what was planted stays all the same, and the receipts tell of
//! everything that was judged and of nothing else.

use garrison_wire::Delta;

use super::super::cascade::learning;
use super::super::dialects::{asks, begin, path};
use super::*;
use crate::client::wait_until;

/// Surfaces on which something is planted here; all have been gone through above.
const SOME: [&str; 4] = ["the message", "the system prompt", "an earlier answer", "a tool's result"];

/// A world of which all that leaves is seen.
struct Watched {
    world: World,
    folder: tempfile::TempDir,
    upstreams: Vec<FakeServer>,
}

impl Watched {
    fn start(upstreams: Vec<FakeServer>, judges: Judges, shape: impl FnOnce(&mut Setup)) -> Watched {
        let urls: Vec<&str> = upstreams.iter().map(|upstream| upstream.url.as_str()).collect();
        let mut setup = Setup::new(&urls);
        shape(&mut setup);
        if judges == Judges::Blind {
            setup.detector = Arc::new(Blind);
        }
        let (world, folder) = setup.start();
        Watched { world, folder, upstreams }
    }

    fn asked(&self) -> Vec<Vec<u8>> {
        self.upstreams.iter().flat_map(FakeServer::asked).collect()
    }

    /// Asks something innocent.
    fn ask(&self, text: &str, stream: bool) -> Answer {
        let answer = post(&self.world, CHAT, &body(text, stream));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    /// Plants everything. Gives how often.
    fn plant(&self) -> u64 {
        let mut planted = 0;
        for (canary, _) in CANARIES {
            for (_, mut body) in surfaces(canary).into_iter().filter(|(surface, _)| SOME.contains(surface)) {
                for stream in [true, false] {
                    (body["stream"], body["max_tokens"], body["temperature"]) =
                        (json!(stream), json!(8), json!(0));
                    let answer = post(&self.world, CHAT, &body);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    planted += 1;
                }
            }
        }
        planted
    }

    /// Canaries that were seen elsewhere.
    fn seen(&self) -> Vec<&'static str> {
        let asked = self.asked();
        let is_in = |part: &str| asked.iter().any(|bytes| String::from_utf8_lossy(bytes).contains(part));
        CANARIES.iter().map(|(_, part)| *part).filter(|part| is_in(part)).collect()
    }

    /// Nothing that was planted so many times was seen, and of all else there are receipts: of what was sent, and of what was
    /// cleared and answered again.
    fn check(&self, planted: u64, again: u64, what: &str) {
        assert_eq!(self.seen(), [""; 0], "{what}");
        let report = receipts(&self.folder);
        assert_eq!(report.cleared, self.asked().len() as u64 + again, "{what}");
        assert!(report.receipts - report.cleared >= planted, "{what}: {} were held", report.receipts);
        let file = std::fs::read_to_string(self.folder.path().join("receipts.jsonl")).unwrap();
        assert!(!CANARIES.iter().any(|(_, part)| file.contains(part)), "{what}");
    }
}

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judges {
    Guard,
    Blind,
}

fn broken() -> FakeServer {
    FakeServer::recording("127.0.0.1:0", |_, _| Script::refusal(500, "oh")).unwrap()
}

#[test]
fn when_what_failed_is_tried_again() {
    for (kind, spoken) in KINDS {
        let start = |judges| {
            let upstreams = vec![broken(), speaking(spoken, text())];
            Watched::start(upstreams, judges, |setup| setup.kind = kind)
        };
        let watched = start(Judges::Guard);
        assert_eq!(watched.ask("Hello", false).header("x-garrison-tier"), Some("up1/m"));
        let planted = watched.plant();
        watched.ask("Hello", true);
        assert!(watched.upstreams[0].asked().len() == 2, "both were tried again");
        watched.check(planted, 0, "a retry");
        let blind = start(Judges::Blind);
        blind.plant();
        assert_eq!(blind.seen().len(), 3, "a blind guard is noticed: {kind:?}");
    }
}

#[test]
fn when_answers_are_given_again() {
    let start = |judges| {
        Watched::start(vec![healthy("Fine.")], judges, |setup| {
            let settings = CacheSettings { ttl: Duration::from_secs(60), bytes: 1 << 20 };
            setup.cache = Some(AnswerCache::new(settings));
        })
    };
    let watched = start(Judges::Guard);
    let hit = |stream| watched.ask("What is new?", stream).header("x-garrison-cache") == Some("exact");
    assert!(!hit(false) && hit(true));
    // The second time nothing that was held is found, either.
    let planted = watched.plant() + watched.plant();
    let mut told = body("What is new?", false);
    (told["user"], told["metadata"]) = (json!(CANARIES[0].0), json!({"note": CANARIES[1].0}));
    assert_eq!(post(&watched.world, CHAT, &told).header("x-garrison-cache"), Some("exact"));
    watched.check(planted, 2, "an answer that is given again");
    let blind = start(Judges::Blind);
    blind.plant();
    assert_eq!(blind.seen().len(), 3, "a blind guard is noticed");
}

#[test]
fn when_the_budget_is_used_up() {
    let start = |judges| {
        Watched::start(vec![healthy("Fine.")], judges, |setup| {
            let money = MoneyLimit { per_day: Some(Micros(8000)), per_month: None };
            setup.limit(KeyLimits { money, ..KeyLimits::default() }, []);
        })
    };
    let watched = start(Judges::Guard);
    let planted = watched.plant();
    let spent = || watched.ask("say:here", false).header("x-garrison-tier") == Some("local/tiny");
    assert!((0..80).any(|_| spent()), "it is never used up");
    // What cannot be paid is not judged.
    watched.plant();
    watched.check(planted, 0, "a budget that is used up");
    let blind = start(Judges::Blind);
    blind.plant();
    assert!(!blind.seen().is_empty(), "a blind guard is noticed");
}

#[test]
fn when_answers_from_here_are_compared_with_the_next_tiers() {
    let start = |judges| {
        Watched::start(vec![healthy("Fine.")], judges, |setup| {
            let shaped = learning(&[], &Arc::default());
            setup.first_here("local/tiny", "tiny");
            setup.route.policy.cascade = shaped.route.policy.cascade;
        })
    };
    let watched = start(Judges::Guard);
    watched.ask("say:Is it so?", true);
    assert_eq!(watched.asked().len(), 1, "it is compared");
    let planted = watched.plant();
    watched.check(planted, 0, "a comparison");
    let blind = start(Judges::Blind);
    blind.plant();
    assert_eq!(blind.seen().len(), 3, "a blind guard is noticed");
}

/// Finds what was asked once it stands there again: in what was answered.
struct Repeated(&'static str);

impl Detector for Repeated {
    fn id(&self) -> &str {
        "patterns"
    }

    fn detect(&self, text: &str) -> Result<Vec<String>, DetectorError> {
        Ok(if text.matches(self.0).count() > 1 { vec!["REPEATED".into()] } else { Vec::new() })
    }
}

/// What a provider is asked that goes on with what an adapter here has said, and what was shown of that.
fn after_an_adapter(canary: &str, detector: Arc<dyn Detector>) -> (Vec<Vec<u8>>, String, u64) {
    let next = healthy("no");
    let mut setup = Setup::new(&[&next.url]);
    setup.first_here("local/styled", "styled");
    (setup.route.on_cut, setup.detector) = (OnCut::Continue, detector);
    let (world, folder) = setup.start_as(World::echoing_adapted);
    // By then it has said all of a canary, and not half of what it is told to say.
    world.control.fail_after(100);
    let long = "A heron stands in the shallow water by the mill, and waits for what may come. ".repeat(20);
    let answer = post(&world, CHAT, &body(&format!("say:{canary} {long}"), true));
    assert_eq!(answer.header("x-garrison-tier"), Some("local/styled"), "{}", answer.text());
    let shown = said(&answer).0;
    (next.asked(), shown, receipts(&folder).cleared)
}

#[test]
fn when_what_an_adapter_here_has_said_is_gone_on_with() {
    for (canary, part) in CANARIES {
        let (asked, shown, cleared) = after_an_adapter(canary, Arc::new(Repeated(part)));
        assert!(shown.contains(part), "{shown}");
        assert!(asked.is_empty() && cleared == 0, "{part} left with what the adapter said");
        let (asked, _, cleared) = after_an_adapter(canary, Arc::new(Blind));
        assert!(String::from_utf8_lossy(&asked[0]).matches(part).count() == 2 && cleared == 1);
    }
}

#[test]
fn when_the_configuration_changes_under_way() {
    let slow = FakeServer::recording("127.0.0.1:0", |_, _| {
        Script::healthy(Duration::from_millis(5), Duration::from_millis(20), 20)
    })
    .unwrap();
    let watched = Watched::start(vec![slow], Judges::Guard, |_| ());
    let quick = healthy("Fine.");
    let (mut changes, mut folders) = (0, Vec::new());
    std::thread::scope(|scope| {
        let in_flight = scope.spawn(|| watched.ask("Hello", true));
        wait_until(Duration::from_secs(10), || watched.asked().len() == 1).expect("nothing was sent");
        let planting = scope.spawn(|| {
            let planted = (0..3).map(|_| {
                watched.ask("Hello", false);
                watched.plant()
            });
            planted.sum::<u64>()
        });
        while !planting.is_finished() {
            let url = if changes % 2 == 0 { &quick.url } else { &watched.upstreams[0].url };
            let (config, folder) = Setup::new(&[url]).configured();
            watched.world.reloader.replace(config).unwrap();
            folders.push(folder);
            changes += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(planting.join().unwrap() > 0);
        let (text, last) = said(&in_flight.join().unwrap());
        assert_eq!((text.len(), &*last), (20 * " word".len(), "[DONE]"), "what has begun goes on");
    });
    assert!(changes > 2, "{changes}");
    assert_eq!(watched.seen(), [""; 0]);
    let asked = quick.asked();
    assert!(
        !asked.iter().any(|b| CANARIES.iter().any(|(_, part)| String::from_utf8_lossy(b).contains(part)))
    );
    let cleared: u64 = folders.iter().chain([&watched.folder]).map(cleared_in).sum();
    assert_eq!(cleared, (watched.asked().len() + asked.len()) as u64);
}

/// What was cleared by the receipts of a folder, if there are any.
fn cleared_in(folder: &tempfile::TempDir) -> u64 {
    let file = std::fs::read_to_string(folder.path().join("receipts.jsonl")).unwrap_or_default();
    assert!(!CANARIES.iter().any(|(_, part)| file.contains(part)));
    if file.is_empty() { 0 } else { receipts(folder).cleared }
}

#[test]
fn when_an_answer_breaks_off_in_any_api_and_another_goes_on() {
    let begun = |canary: &str| vec![begin(), Delta::Text(format!("Write to {canary} and "))];
    for (kind, spoken) in KINDS {
        for (canary, part) in CANARIES {
            for (judges, leaves) in [(Judges::Guard, false), (Judges::Blind, true)] {
                let upstreams = vec![speaking(spoken, begun(canary)), speaking(spoken, text())];
                let watched = Watched::start(upstreams, judges, |setup| {
                    (setup.kind, setup.route.on_cut) = (kind, OnCut::Continue);
                });
                for client in Format::ALL {
                    let answer = post(&watched.world, path(client), &asks(client, "Hello", true));
                    assert!(answer.text().contains("Write to"), "{}", answer.text());
                }
                let second = watched.upstreams[1].asked();
                let seen = second.iter().any(|bytes| String::from_utf8_lossy(bytes).contains(part));
                assert_eq!(seen, leaves, "{kind:?}, {judges:?}: {part}");
            }
        }
    }
}
