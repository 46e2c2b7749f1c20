use super::*;
use crate::providers;
use proptest::prelude::*;

fn cache(bytes: usize) -> Arc<AnswerCache> {
    AnswerCache::new(CacheSettings { ttl: Duration::from_secs(60), bytes })
}

fn chunk(text: &str) -> Heard {
    Heard::Chunk(providers::chunk(&json!({"id": "x", "choices": [{"index": 0, "delta": {"content": text}}]})))
}

fn said(found: Found) -> Option<Vec<Heard>> {
    match found {
        Found::Answer(kept) => Some(kept.again("x")),
        Found::Lead(_) | Found::Follow(_) => None,
    }
}

fn answer(cache: &Arc<AnswerCache>, key: Key, text: &str) {
    let Found::Lead(mut leader) = cache.find(key, Waited::Not) else { panic!("it is known already") };
    leader.hear(&chunk(text));
    leader.land();
}

#[test]
fn an_answer_is_given_again_as_it_was_with_a_usage_that_tells() {
    let cache = cache(1 << 20);
    let Found::Lead(mut leader) = cache.find([1; 32], Waited::Not) else { panic!() };
    let usage = json!({"id": "up", "choices": [], "created": 5, "usage": {"prompt_tokens": 9, "completion_tokens": 2,
        "prompt_tokens_details": {"cache_write_tokens": 4}}});
    leader.hear(&chunk("Hi"));
    leader.hear(&Heard::Chunk(providers::chunk(&usage)));
    leader.land();
    let Found::Answer(kept) = cache.find([1; 32], Waited::Not) else { panic!() };
    let again = kept.again("mine");
    let value = |heard: &Heard| match heard {
        Heard::Chunk(chunk) => serde_json::from_str::<Value>(&chunk.to_json()).unwrap(),
        Heard::Delta(delta) => panic!("{delta:?}"),
    };
    let (first, last) = (value(&again[0]), value(&again[1]));
    assert_eq!((&first["choices"][0]["delta"]["content"], &first["id"]), (&json!("Hi"), &json!("mine")));
    assert_eq!(
        (&last["usage"]["prompt_tokens_details"]["cached_tokens"], &last["created"]),
        (&json!(9), &json!(0))
    );
    assert!(last["usage"]["prompt_tokens_details"].get("cache_write_tokens").is_none(), "{last}");
    assert!(kept.says_chunks());
    let usage =
        garrison_wire::Usage { input: 9, output: 2, cache_written: 4, ..garrison_wire::Usage::default() };
    let end = Heard::Delta(Delta::End {
        stop: garrison_wire::Stop::EndTurn,
        usage: Some(usage),
        beside: Map::new(),
    });
    let Heard::Delta(Delta::End { usage: Some(usage), .. }) = anew(end, "x") else { panic!() };
    assert_eq!((usage.cached, usage.cache_written), (9, 0));
    let counts = cache.counts();
    assert_eq!((counts.hits, counts.entries, counts.shared), (1, 1, 0));
}

#[test]
fn what_is_kept_of_models_here_is_found_by_whose_it_is_which_model_and_whether_it_may_leave() {
    let ask = |key: &str, chat: Value| Ask {
        id: "r".into(),
        key: key.into(),
        chat: chat.as_object().unwrap().clone(),
        words: Words::Chat,
        taint: garrison_guard::Taint::Clean,
        output_tokens: None,
        choices: 1,
        needs: garrison_route::Needs::NONE,
        task: garrison_route::Task::Chat,
        sticky: 0,
        delivery: crate::journey::Delivery::Stream,
        tally: Arc::default(),
    };
    let chat = |temperature: f64| json!({"messages": [{"role": "user", "content": "Hi"}], "temperature": temperature});
    let to = |tier| Asked { route: "auto", tier, output: None };
    let (anna, bert) = (ask("anna", chat(0.0)), ask("bert", chat(0.0)));
    let keys = [
        key(&anna, &to("local/m")),
        key_in("clear here", "m#1", &anna, &to("local/m")),
        key_in("held here", "m#1", &anna, &to("local/m")),
        // An adapter that was loaded anew under its name.
        key_in("clear here", "m#2", &anna, &to("local/m")),
        key_in("clear here", "m#1", &bert, &to("local/m")),
        key_in("clear here", "m#1", &anna, &to("local/n")),
        key_in("clear here", "m#1", &ask("anna", json!({"messages": [], "seed": 1})), &to("local/m")),
    ];
    for (i, one) in keys.iter().enumerate() {
        assert!(one.is_some() && keys[..i].iter().all(|before| before != one), "{i}");
    }
    assert_eq!(keys[1], key_in("clear here", "m#1", &ask("anna", chat(0.0)), &to("local/m")));
    assert_eq!(key_in("clear here", "m#1", &ask("anna", chat(0.7)), &to("local/m")), None);
}

#[test]
fn an_answer_has_its_time() {
    let cache = AnswerCache::new(CacheSettings { ttl: Duration::ZERO, bytes: 1 << 20 });
    answer(&cache, [1; 32], "Hi");
    assert!(matches!(cache.find([1; 32], Waited::Not), Found::Lead(_)));
    assert_eq!(cache.counts().entries, 0);
}

#[tokio::test]
async fn those_who_wait_get_the_leaders_answer_or_lead_when_it_fails() {
    let cache = cache(1 << 20);
    let Found::Lead(leader) = cache.find([1; 32], Waited::Not) else { panic!() };
    let follow = |cache: &Arc<AnswerCache>| match cache.find([1; 32], Waited::Not) {
        Found::Follow(led) => led,
        Found::Answer(_) | Found::Lead(_) => panic!("somebody leads"),
    };
    let soon = || Instant::now() + Duration::from_millis(20);
    let (first, second, late) = (follow(&cache), follow(&cache), follow(&cache));
    let late = late.landed(tokio::time::Instant::from_std(soon())).await;
    assert!(matches!(late, Waited::TooLong { .. }), "nobody has landed");
    // Its client goes away.
    drop(leader);
    let far = || tokio::time::Instant::now() + Duration::from_secs(60);
    assert_eq!([first.landed(far()).await, second.landed(far()).await], [Waited::ForAnother; 2]);
    let Found::Lead(mut leader) = cache.find([1; 32], Waited::ForAnother) else {
        panic!("one of them leads")
    };
    let waiting = follow(&cache);
    leader.hear(&chunk("Hi"));
    leader.land();
    assert_eq!(waiting.landed(far()).await, Waited::ForAnother);
    assert_eq!(said(cache.find([1; 32], Waited::ForAnother)), Some(vec![anew(chunk("Hi"), "x")]));
    assert_eq!(cache.counts().shared, 1);
}

#[tokio::test(start_paused = true)]
async fn of_those_who_have_waited_too_long_one_leads_and_an_older_answer_is_everybodys() {
    let cache = cache(1 << 20);
    let Found::Lead(mut oldest) = cache.find([1; 32], Waited::Not) else { panic!() };
    let second = || tokio::time::Instant::now() + Duration::from_secs(1);
    let mut waited = [Waited::Not; 100];
    let mut leaders = Vec::new();
    for _ in 0..3 {
        let mut led = Vec::new();
        for waited in &mut waited {
            match cache.find([1; 32], *waited) {
                Found::Follow(other) => led.push((waited, other)),
                Found::Lead(leader) => leaders.push(leader),
                Found::Answer(_) => panic!("there is none"),
            }
        }
        let until = second();
        for (waited, other) in led {
            *waited = other.landed(until).await;
        }
    }
    assert_eq!(leaders.len(), 2, "each time one of a hundred");
    // Who leads no longer takes nothing from who does, and its answer is given to all who wait.
    drop(leaders.remove(0));
    let Found::Follow(waiting) = cache.find([1; 32], Waited::Not) else { panic!("one leads") };
    oldest.hear(&chunk("Hi"));
    oldest.land();
    assert_eq!(waiting.landed(second()).await, Waited::ForAnother);
    assert!(said(cache.find([1; 32], Waited::ForAnother)).is_some());
    drop(leaders);
    assert!(said(cache.find([1; 32], Waited::Not)).is_some());
}

#[test]
fn what_is_too_large_is_not_kept() {
    let cache = cache(8 * 1000);
    answer(&cache, [1; 32], &"x".repeat(900));
    let Found::Lead(mut large) = cache.find([1; 32], Waited::Not) else {
        panic!("an eighth is 1000 with all")
    };
    large.hear(&chunk(&"x".repeat(900)));
    let Found::Lead(next) = cache.find([1; 32], Waited::Not) else {
        panic!("nobody waits for what is not kept")
    };
    drop(large);
    assert!(matches!(cache.find([1; 32], Waited::Not), Found::Follow(_)), "the next one still leads");
    drop(next);
    answer(&cache, [2; 32], &"x".repeat(500));
    assert!(said(cache.find([2; 32], Waited::Not)).is_some());
    cache.change(CacheSettings { ttl: Duration::from_secs(1), bytes: 10 });
    assert_eq!((cache.counts().entries, cache.counts().bytes), (0, 0));
}

#[test]
fn an_answer_is_the_same_after_it_was_elsewhere() {
    let mut kept = Kept::default();
    kept.push(&chunk("a\nb"));
    kept.push(&chunk("c"));
    let text = kept.to_text(Duration::from_secs(5)).unwrap();
    let (again, left) = Kept::from_text(&text).unwrap();
    assert_eq!(again, kept);
    assert!(left <= Duration::from_secs(5) && left > Duration::from_secs(4));
    assert!(Kept::from_text(&kept.to_text(Duration::ZERO).unwrap()).is_none(), "its time is over");
    assert!(Kept::from_text(b"garbage").is_none() && Kept::from_text(b"99999999999999\n{{").is_none());
    kept.push(&Heard::Delta(Delta::PartEnd));
    assert!(kept.to_text(Duration::from_secs(5)).is_none());
}

proptest! {
    /// Against a list of the last used.
    #[test]
    fn the_store_keeps_what_was_used_last_within_its_bytes(
        acts in prop::collection::vec((any::<bool>(), 0u8..12, 0usize..400), 1..80)
    ) {
        let most = 3000;
        let mut store = Store::default();
        // The one used last is last.
        let mut model: Vec<(u8, usize)> = Vec::new();
        let until = Instant::now() + Duration::from_secs(60);
        for (puts, key, length) in acts {
            let at = model.iter().position(|(known, _)| *known == key);
            if puts {
                let mut kept = Kept::default();
                kept.push(&chunk(&"x".repeat(length)));
                let bytes = kept.bytes();
                store.put([key; 32], &Arc::new(kept), until, most);
                if let Some(at) = at { model.remove(at); }
                while model.iter().map(|(_, bytes)| bytes).sum::<usize>() + bytes > most { model.remove(0); }
                model.push((key, bytes));
            } else {
                let got = store.get(&[key; 32], Instant::now());
                prop_assert_eq!(got.is_some(), at.is_some());
                if let Some(at) = at { let entry = model.remove(at); model.push(entry); }
            }
            prop_assert_eq!(store.len(), model.len());
            prop_assert_eq!(store.bytes(), model.iter().map(|(_, bytes)| bytes).sum::<usize>());
            prop_assert!(store.bytes() <= most);
        }
    }
}
