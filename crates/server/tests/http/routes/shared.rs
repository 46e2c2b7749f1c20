//! Two Garrisons that share a Redis: what keys may use is one, and so are the answers; and what happens without it.

use garrison_gateway::{PerMinute, Redis};
use garrison_testkit::redis::RedisServer;

use super::*;
use crate::client::wait_until;

fn shares(redis: &RedisServer, upstreams: &[&str], usual: &KeyLimits) -> (Setup, Arc<Books>) {
    let books = Arc::new(Books::shared(Redis::new(&redis.url()).unwrap()));
    let limits = PerKey::new(usual.clone(), [].into());
    let mut setup = Setup::new(upstreams);
    setup.spend = Some(Spend::new(Arc::clone(&books), limits.clone()));
    setup.config.quotas = Arc::new(Quotas::new(limits, Meters::new(Some(Arc::clone(&books))), None));
    let settings = CacheSettings { ttl: Duration::from_secs(60), bytes: 1 << 20 };
    setup.cache = Some(AnswerCache::shared(settings, Redis::new(&redis.url()).unwrap()));
    (setup, books)
}

fn money(per_day: Option<u64>, per_month: Option<u64>) -> KeyLimits {
    let money = MoneyLimit { per_day: per_day.map(Micros), per_month: per_month.map(Micros) };
    KeyLimits { money, ..KeyLimits::default() }
}

#[test]
fn one_budget_is_exact_over_several_garrisons() {
    let redis = RedisServer::start().expect("redis-server; scripts/test installs it");
    let upstream = healthy("Hello there.");
    for (round, limit) in
        [money(Some(6000), None), money(Some(1_000_000), Some(12_000))].into_iter().enumerate()
    {
        let worlds: Vec<_> = (0..2)
            .map(|_| {
                let (mut setup, books) = shares(&redis, &[&upstream.url], &limit);
                setup.route.policy.last_resort = LastResort::Refuse;
                let (world, folder) = setup.start();
                (world, folder, books)
            })
            .collect();
        let before = upstream.truths().len();
        let answered = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for client in 0..8 {
                let ((world, ..), answered) = (&worlds[client % 2], &answered);
                scope.spawn(move || {
                    for i in 0..12 {
                        let mut asked = body(&format!("What is new, {client}?"), i % 2 == 0);
                        asked["temperature"] = json!(1);
                        asked["max_tokens"] = json!(100);
                        let answer = post(world, CHAT, &asked);
                        match answer.status {
                            200 => answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
                            _ => {
                                assert_eq!(answer.error(429)["code"], "budget_exhausted");
                                0
                            }
                        };
                    }
                });
            }
        });
        let answered = answered.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!((upstream.truths().len() - before) as u64, answered);
        // The month has what the first round spent, too.
        let all = 135 * upstream.truths().len() as u64;
        let most = if round == 0 { 6000 } else { 12_000 };
        assert!((most - 4000..=most).contains(&all), "{all} of {most}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let heard = |books: &Books| {
            assert!(runtime.block_on(books.flush()));
            books.spent("anyone").month.0
        };
        // A refused request hears what there is.
        for (world, _, books) in &worlds {
            let mut last = String::new();
            wait_until(Duration::from_secs(5), || {
                let mut asked = body("What is new?", false);
                asked["max_tokens"] = json!(900);
                asked["temperature"] = json!(1);
                let answer = post(world, CHAT, &asked);
                last = format!("{} {}", answer.status, answer.text());
                answer.status == 429 && heard(books) == all
            })
            .unwrap_or_else(|| panic!("{} for {all}; {last}", heard(books)));
        }
    }
}

#[test]
fn rates_and_answers_are_one_over_several_garrisons() {
    let redis = RedisServer::start().expect("redis-server; scripts/test installs it");
    let upstream = healthy("Hello there.");
    let per_minute = PerMinute { requests: Some(4), tokens: Some(3000) };
    let limit = KeyLimits { per_minute, ..KeyLimits::default() };
    let start = || shares(&redis, &[&upstream.url], &limit).0.start();
    let (first, second) = (start(), start());
    let ask = |world: &World| post(world, CHAT, &body("What is new?", false));
    for (world, cache, left) in [
        (&first.0, "miss", "3"),
        (&second.0, "exact", "2"),
        (&first.0, "exact", "1"),
        (&second.0, "exact", "0"),
    ] {
        let answer = ask(world);
        assert_eq!(answer.ok()["choices"][0]["message"]["content"], "Hello there.");
        assert_eq!(answer.header("x-garrison-cache"), Some(cache));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
        // Nobody waits until the others can find it.
        std::thread::sleep(Duration::from_millis(300));
    }
    for world in [&first.0, &second.0] {
        let answer = ask(world);
        assert_eq!(answer.error(429)["code"], "requests_per_minute");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((50..=61).contains(&wait), "{wait}");
        // 25 tokens were taken once, and nothing by what was given again.
        wait_until(Duration::from_secs(5), || {
            ask(world).header("x-ratelimit-remaining-tokens") == Some("2975")
        })
        .unwrap_or_else(|| panic!("{:?}", ask(world).headers));
    }
    assert_eq!(upstream.truths().len(), 1);
}

#[test]
fn without_redis_nothing_is_spent_and_models_here_go_on() {
    let redis = RedisServer::start().expect("redis-server; scripts/test installs it");
    let upstream = healthy("Hello there.");
    let per_minute = PerMinute { requests: Some(50), tokens: None };
    let limit = KeyLimits { per_minute, ..money(Some(1_000_000), None) };
    let (setup, _books) = shares(&redis, &[&upstream.url], &limit);
    let (world, _folder) = setup.start();
    let ask = |text: &str| {
        let mut asked = body(text, false);
        asked["temperature"] = json!(1);
        post(&world, CHAT, &asked)
    };
    assert_eq!(ask("say:here").header("x-garrison-tier"), Some("up0/m"));
    let port = redis.port();
    drop(redis);
    for _ in 0..2 {
        let begun = Instant::now();
        let answer = ask("say:here");
        assert_eq!(answer.ok()["choices"][0]["message"]["content"], "here");
        assert_eq!(answer.header("x-garrison-tier"), Some("local/tiny"));
        assert!(
            answer.header("x-ratelimit-remaining-requests").is_some(),
            "rates are counted here meanwhile"
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(upstream.truths().len(), 1);
    let _again = RedisServer::start_at(port).unwrap();
    wait_until(Duration::from_secs(10), || ask("say:here").header("x-garrison-tier") == Some("up0/m"))
        .expect("it is used again");
}
