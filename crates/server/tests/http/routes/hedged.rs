//! Two that are asked at one time: what becomes of the one whose answer is not taken, and of a refusal of one of them.

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A route that asks a second one soon.
fn hedging(upstreams: &[&str]) -> Setup {
    let mut setup = Setup::new(upstreams);
    setup.route.hedge = Some(ms(50));
    setup.route.first_token = Duration::from_secs(5);
    setup.route.policy.last_resort = LastResort::Refuse;
    setup
}

/// One that begins after a while and is cut off.
fn late_and_cut(after: Duration) -> Script {
    Script { ending: Ending::Cut, ..Script::stream(vec![(after, token("Hel"))]) }
}

#[test]
fn whoever_was_dropped_is_asked_again_when_the_other_one_breaks_off() {
    let good = || Script::healthy(ms(0), ms(0), 3);
    let never = || Script { ending: Ending::Never, ..Script::stream(vec![]) };
    // The first is heard first and breaks off, or the second is.
    for (breaks, tier, other) in [(0, "up1/m", 1), (1, "up0/m", 0)] {
        let upstreams: Vec<FakeServer> = (0..3)
            .map(|i| {
                FakeServer::recording("127.0.0.1:0", move |times, _| match (i, times) {
                    _ if i == breaks => late_and_cut(ms(150)),
                    (2, _) => Script::refusal(500, "nobody asks me"),
                    // It was dropped, and answers the next time.
                    (_, 0) => never(),
                    _ => good(),
                })
                .unwrap()
            })
            .collect();
        let urls: Vec<&str> = upstreams.iter().map(|upstream| upstream.url.as_str()).collect();
        let (world, _folder) = hedging(&urls).start();
        let answer = post(&world, CHAT, &body("What is new?", false));
        assert_eq!(answer.header("x-garrison-tier"), Some(tier), "{}", answer.text());
        let asked: Vec<usize> = upstreams.iter().map(|upstream| upstream.asked().len()).collect();
        assert_eq!((asked[breaks], asked[other], asked[2]), (1, 2, 0));
    }
}

/// Finds something in what goes to one model, and takes its time for that.
struct Slow;

impl Detector for Slow {
    fn id(&self) -> &str {
        "patterns/slow"
    }

    fn detect(&self, text: &str) -> Result<Vec<String>, DetectorError> {
        if !text.contains("first-model") {
            return Ok(Vec::new());
        }
        std::thread::sleep(ms(200));
        Ok(vec!["SECRET".into()])
    }
}

#[test]
fn what_is_refused_to_one_is_not_answered_by_the_other() {
    let first = healthy("no");
    let second = FakeServer::recording("127.0.0.1:0", |_, _| Script::healthy(ms(1000), ms(0), 3)).unwrap();
    let mut setup = hedging(&[&first.url, &second.url]);
    setup.detector = Arc::new(Slow);
    let Target::Remote { model, .. } = &mut setup.route.targets[0] else { panic!("it is elsewhere") };
    *model = "first-model".into();
    let (world, _folder) = setup.start();
    let answer = send(&world, "POST", CHAT, &[("x-request-id", "r-1")], &body("say:here", true).to_string());
    let trace = get(&world, "/v1/garrison/requests/r-1").ok();
    assert_eq!(second.asked().len(), 1, "it was asked before the other was refused: {trace}");
    assert_eq!(said(&answer), ("here".into(), "[DONE]".into()));
    assert_eq!(answer.header("x-garrison-privacy"), Some("local"), "{trace}");
    assert!(trace["stages"].to_string().contains("abandoned") && first.asked().is_empty(), "{trace}");
}
