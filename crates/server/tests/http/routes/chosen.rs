//! Which tier is asked, and how often another one.

use super::*;

fn tier_of(answer: &Answer) -> Option<&str> {
    answer.header("x-garrison-tier")
}

#[test]
fn what_a_tier_refuses_costs_nobody_a_further_attempt() {
    let picky = FakeServer::start("127.0.0.1:0", |_, _| Script::refusal(400, "no")).unwrap();
    let upstream = healthy("Hello.");
    let (world, _folder) = Setup::new(&[&picky.url, &upstream.url]).start();
    // More than the attempts in hand and those that so many requests earn.
    for i in 0..220 {
        assert_eq!(tier_of(&post(&world, CHAT, &body("Hi", false))), Some("up1/m"), "{i}");
    }
    assert_eq!(picky.truths().len(), 220, "it answers, so its breaker stays closed");
}

#[test]
fn a_model_here_is_the_fastest_only_if_it_is() {
    let slow = FakeServer::start("127.0.0.1:0", |_, _| {
        Script::healthy(Duration::from_millis(200), Duration::ZERO, 2)
    })
    .unwrap();
    let upstream = healthy("Hello.");
    let fastest = |url: &str| {
        let mut setup = Setup::new(&[url]);
        setup.first_here("local/tiny", "tiny");
        setup.route.policy.prefer = Prefer::Fastest;
        setup.start()
    };
    let ask = |world: &World, stream| post(world, CHAT, &body("say:here", stream));
    for stream in [true, false] {
        // What nobody knows of is tried, and then it is known.
        let (world, _folder) = fastest(&slow.url);
        let tiers: Vec<Answer> = (0..4).map(|_| ask(&world, stream)).collect();
        let tiers: Vec<_> = tiers.iter().map(tier_of).collect();
        assert_eq!(tiers, [Some("local/tiny"), Some("up0/m"), Some("local/tiny"), Some("local/tiny")]);
        assert!(world.metric("garrison:tier_first_token_seconds{tier=\"local/tiny\"}") < 0.2);
        let (world, _folder) = fastest(&upstream.url);
        world.control.hold();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| ask(&world, stream));
            std::thread::sleep(Duration::from_millis(300));
            world.control.release();
            assert_eq!(tier_of(&first.join().unwrap()), Some("local/tiny"));
        });
        for _ in 0..3 {
            assert_eq!(tier_of(&ask(&world, stream)), Some("up0/m"));
        }
    }
}

#[test]
fn an_adapter_takes_no_name_of_a_route() {
    let (world, _folder) = Setup::new(&[]).start_as(World::adapted);
    let load =
        |name: &str| post(&world, "/v1/load_lora_adapter", &json!({"lora_name": name, "lora_path": "a"}));
    let refused = load("auto").error(400);
    assert_eq!(refused["param"], "lora_name");
    assert!(refused["message"].as_str().unwrap().contains("of a route"), "{refused}");
    assert_eq!(load("other").status, 200);
}
