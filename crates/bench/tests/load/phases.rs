//! Which requests count, and conversations.

use std::sync::{Arc, Mutex};

use garrison_bench::dataset::{Conversation, Dataset, Lengths, Material, Models, Synthetic};
use garrison_bench::load::{CoolDown, Endpoint, Extent, Interrupt, Load, run};
use garrison_bench::{Goals, Outcome, Phase, Summary};
use garrison_testkit::fake_server::Script;
use serde_json::Value;

use crate::world::{Deaf, asks, measure, ms, plan, server, workload};

/// The first requests are slow and the load is held to the end; neither shows in a figure.
#[test]
fn warm_up_and_cool_down_count_nowhere_but_hold_the_load() {
    // The last measured ones end one after the other, so that there is something to hold.
    let first_token = |i: usize| if i < 4 { 400 } else { 20 + 30 * (i as u64 % 4) };
    let server = server(move |i, _| Script::healthy(ms(first_token(i)), ms(10), 5));
    let mut plan = plan(Load::Closed { concurrency: 4 }, 12);
    plan.warm_up = 4;
    plan.cool_down = CoolDown::Hold;
    let (finished, summary) = measure(&server, &plan, 5);
    let count = |phase| finished.records.iter().filter(|r| r.phase == phase).count();
    assert_eq!((count(Phase::WarmUp), count(Phase::Measured)), (4, 12));
    assert!((3..=9).contains(&count(Phase::CoolDown)), "{}", count(Phase::CoolDown));
    assert_eq!(summary.requests.answered, 12);
    assert!(summary.ttft_ms.unwrap().max < 200.0, "{:?}", summary.ttft_ms);
    // Whatever was under way at the end is cut off there.
    let end = finished.records.iter().filter(|r| r.phase == Phase::Measured).map(|r| r.ended_ms);
    let end = end.fold(0.0, f64::max);
    assert!(finished.records.iter().all(|r| r.ended_ms < end + 50.0));
    assert!(finished.records.iter().any(|r| r.outcome == Outcome::CutOff));
}

#[test]
fn a_run_may_be_as_long_as_a_time() {
    let server = server(|_, _| Script::healthy(ms(20), ms(10), 4));
    let mut plan = plan(Load::Closed { concurrency: 2 }, 0);
    plan.extent = Extent::Time(ms(500));
    let (finished, summary) = measure(&server, &plan, 4);
    assert!((14..=20).contains(&summary.requests.answered), "{}", summary.requests.answered);
    let last = finished.records.iter().map(|r| r.scheduled_ms).fold(0.0, f64::max);
    assert!((400.0..=520.0).contains(&last), "{last}");
}

/// Makes the first conversation up in more time than the run is to take.
struct SlowToBegin<D>(D, bool);

impl<D: Dataset> Dataset for SlowToBegin<D> {
    fn next(&mut self) -> Conversation {
        if !std::mem::replace(&mut self.1, true) {
            std::thread::sleep(ms(700));
        }
        self.0.next()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

#[test]
fn making_the_first_prompt_up_is_no_part_of_the_window() {
    let server = server(|_, _| Script::healthy(ms(20), ms(10), 4));
    let mut plan = plan(Load::Closed { concurrency: 2 }, 0);
    plan.extent = Extent::Time(ms(500));
    let mut dataset = SlowToBegin(asks(4), false);
    let finished =
        run(&workload(&server), &plan, &mut dataset, &mut Deaf, &mut Interrupt::listen().unwrap()).unwrap();
    let measured = finished.records.iter().filter(|r| r.phase == Phase::Measured).count();
    assert!(measured >= 10, "{measured}");
}

#[test]
fn turns_follow_each_other_with_the_servers_own_answers() {
    let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
    let seen = Arc::clone(&bodies);
    let server = server(move |_, body| {
        seen.lock().unwrap().push(body.clone());
        Script::healthy(ms(5), ms(1), 3)
    });
    let mut workload = workload(&server);
    workload.endpoint = Endpoint::Chat;
    workload.models = Models::parse("base=1,tone=1").unwrap();
    let mut talks = Synthetic::new(Material::Words, Lengths::Fixed(5), Lengths::Fixed(3), 1).turns(3);
    let finished = run(
        &workload,
        &plan(Load::Closed { concurrency: 1 }, 4),
        &mut talks,
        &mut Deaf,
        &mut Interrupt::listen().unwrap(),
    )
    .unwrap();
    assert_eq!(finished.records.len(), 12);
    let bodies = bodies.lock().unwrap();
    let roles = |i: usize| {
        let messages = bodies[i]["messages"].as_array().unwrap();
        messages.iter().map(|m| m["role"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!([roles(0), roles(1)], ["user", "user assistant user"]);
    assert_eq!(roles(2), "user assistant user assistant user");
    assert_eq!(bodies[2]["messages"][1]["content"], " word word word");
    assert_eq!(bodies[2]["messages"][0], bodies[0]["messages"][0]);
    assert_eq!(roles(3), "user", "the next conversation begins anew");
    assert!(finished.records.chunks(3).all(|turns| turns.iter().all(|t| t.model == turns[0].model)));
    let models: std::collections::BTreeSet<&str> =
        finished.records.iter().map(|r| r.model.as_str()).collect();
    assert_eq!(models, ["base", "tone"].into());
    assert!(bodies.iter().all(|b| b["stream_options"]["include_usage"] == true && b["ignore_eos"] == true));
}

#[test]
fn goodput_counts_answers_that_keep_to_every_goal() {
    // Every third answer is late to begin, every fifth slow between tokens.
    let server = server(|i, _| {
        Script::healthy(ms(if i % 3 == 0 { 150 } else { 10 }), ms(if i % 5 == 0 { 40 } else { 5 }), 6)
    });
    let plan = plan(Load::Closed { concurrency: 3 }, 30);
    let finished =
        run(&workload(&server), &plan, &mut asks(6), &mut Deaf, &mut Interrupt::listen().unwrap()).unwrap();
    let share = |goals: Goals| {
        let summary = Summary::new(&finished.records, goals);
        (summary.goodput.unwrap().share.unwrap().value * 30.0).round()
    };
    let late = Goals { ttft_ms: Some(100.0), ..Goals::default() };
    assert_eq!(share(late), 20.0);
    assert_eq!(share(Goals { itl_ms: Some(25.0), ..late }), 16.0);
    assert_eq!(share(Goals { e2e_ms: Some(1.0), ..Goals::default() }), 0.0);
    assert_eq!(Summary::new(&finished.records, Goals::default()).goodput, None);
}

#[test]
fn descriptions_name_what_is_sent() {
    assert_eq!(asks(7).describe(), "prompts of 16 tokens (as words, one for each token), answers of 7");
}
