//! What a tier has said before, and who may be given it again.

use std::sync::Arc;

use garrison_route::{Price, Privacy, Step};
use garrison_wire::Delta;
use serde_json::Map;
use tokio::time::Instant;

use super::{Journey, Thoughts};
use crate::cache::{
    self, Asked, CacheUse, Consulted, Found, Keeps, Kept, Leader, Likened, Question, Semantic, Waited,
};
use crate::providers::{Failure, Heard};
use crate::remote::{Origin, Remote, Settling, Source, Terms};

/// What became of looking for an answer.
pub(super) enum Looked {
    /// It is not looked for.
    Off,
    /// There is one.
    Answer(Arc<Kept>, CacheUse),
    /// There is none, and others may wait for this one.
    Lead(Leader),
}

/// What became of looking for an answer of a model here.
pub enum LookedHere {
    /// It is not looked for.
    Off,
    /// There is one: what is said.
    Answer(Vec<Delta>),
    /// There is none, and others may wait for this one.
    Lead(Keeping),
}

/// An answer of a model here while it comes. It is kept once it is whole; dropped before, it lets others go on.
pub struct Keeping(Leader);

impl Keeping {
    /// Takes more of it, which was not judged yet. What only this time was so is not kept.
    pub fn hear(&mut self, delta: &Delta) {
        let mut delta = delta.clone();
        if let Delta::End { beside, .. } = &mut delta {
            *beside = Map::new();
        }
        self.0.hear(&Heard::Delta(delta));
    }

    /// It is whole.
    pub fn land(self) {
        self.0.land();
    }
}

impl Journey {
    /// Looks for what a model here has said to an equal request of the same key, if that is kept. `identity` tells it from what was
    /// called the same before.
    pub async fn look_up_here(&self, tier: &str, identity: &str) -> LookedHere {
        let keeps = self.routes.keeps == Keeps::Everywhere && self.said.is_empty();
        let Some(cache) = self.routes.cache.as_ref().filter(|_| keeps) else { return LookedHere::Off };
        let asked = Asked { route: &self.route.name, tier, output: self.ask.output_tokens };
        // What stays here is told apart from what may leave, though both do now.
        let class = if self.features.privacy == Privacy::Held { "held here" } else { "clear here" };
        let Some(key) = cache::key_in(class, identity, &self.ask, &asked) else { return LookedHere::Off };
        let mut waited = Waited::Not;
        loop {
            match cache.find(key, waited) {
                Found::Answer(kept) => {
                    let mut trace = self.trace.lock();
                    trace.note("cached", Some(tier), None);
                    trace.cache = CacheUse::Exact.name();
                    drop(trace);
                    let said = kept.again("").into_iter().filter_map(|heard| match heard {
                        Heard::Delta(delta) => Some(delta),
                        // Models here say none.
                        Heard::Chunk(_) => None,
                    });
                    return LookedHere::Answer(said.collect());
                }
                Found::Lead(leader) => return LookedHere::Lead(Keeping(leader.asks(None))),
                Found::Follow(led) => {
                    if waited == Waited::Not {
                        self.trace.lock().note("waiting", Some(tier), None);
                    }
                    waited = led.landed(self.patience()).await;
                    if Instant::now() >= self.deadline {
                        return LookedHere::Off;
                    }
                }
            }
        }
    }

    /// Until when an equal request is waited for: as long as for a first token. Its answer comes as slowly as its client reads it, so
    /// then another leads.
    fn patience(&self) -> Instant {
        (Instant::now() + self.route.first_token).min(self.deadline)
    }

    /// Looks for what a tier has said to an equal request, and then to one that is alike. While an equal one is being
    /// answered, it is waited for, though not for ever: then the tier is asked for one of those who wait as well.
    pub(super) async fn look_up(&self, tier: &str, step: Step) -> Result<Looked, Failure> {
        let Some(cache) = self.routes.cache.as_ref().filter(|_| self.said.is_empty()) else {
            return Ok(Looked::Off);
        };
        let asked = Asked { route: &self.route.name, tier, output: step.output_tokens };
        let Some(key) = cache::key(&self.ask, &asked) else { return Ok(Looked::Off) };
        let mut waited = Waited::Not;
        loop {
            match cache.find(key, waited) {
                Found::Answer(kept) => return Ok(Looked::Answer(kept, CacheUse::Exact)),
                Found::Lead(leader) => {
                    return Ok(match leader.look_elsewhere().await {
                        Ok(kept) => Looked::Answer(kept, CacheUse::Exact),
                        Err(leader) => self.look_for_alike(leader, &cache.semantic(), &asked).await,
                    });
                }
                Found::Follow(led) => {
                    if waited == Waited::Not {
                        self.trace.lock().note("waiting", Some(tier), None);
                    }
                    waited = led.landed(self.patience()).await;
                    if Instant::now() >= self.deadline {
                        return Err(Failure::Deadline);
                    }
                }
            }
        }
    }

    /// Looks for what the tier has said to a request that is alike; if there is nothing, its answer is learned from.
    async fn look_for_alike(&self, leader: Leader, semantic: &Semantic, asked: &Asked<'_>) -> Looked {
        let semantic = match semantic {
            Semantic::Off => return Looked::Lead(leader.asks(None)),
            Semantic::NoEmbedder => {
                self.trace.lock().semantic = Some(Likened::only("no_embedder"));
                return Looked::Lead(leader.asks(None));
            }
            Semantic::On(semantic) => semantic,
        };
        let (consulted, told) = match Question::of(&self.ask, asked, semantic.embedder().id()) {
            None => (Consulted::Not, Likened::only("not_a_text")),
            Some(question) => semantic.consult(question, self.deadline).await,
        };
        self.trace.lock().semantic = Some(told);
        match consulted {
            Consulted::Given(kept) => Looked::Answer(kept, CacheUse::Semantic),
            Consulted::Asked(lesson) => Looked::Lead(leader.asks(Some(lesson))),
            Consulted::Not => Looked::Lead(leader.asks(None)),
        }
    }

    /// What a tier has said before, said again. It costs nothing, and nothing is sent.
    pub(super) fn answer_again(&self, kept: &Kept, how: CacheUse, origin: Origin) -> Remote {
        let terms = Terms {
            tier: origin.tier.clone(),
            price: Price::FREE,
            ticket: None,
            portion: None,
            choices: self.ask.choices,
            prompt: 0,
            output: None,
            thoughts: Thoughts::Unasked,
            tally: Arc::clone(&self.ask.tally),
        };
        let said = kept.again(&format!("chatcmpl-{}", self.ask.id)).into();
        let source = Source::Kept { said, says_chunks: kept.says_chunks(), how };
        let settling = Settling::new(&self.routes, &self.trace, terms);
        let mut trace = self.trace.lock();
        trace.note("cached", Some(&origin.tier), None);
        (trace.tier, trace.privacy) = (Some(origin.tier.clone()), Some("cleared"));
        trace.cache = how.name();
        drop(trace);
        Remote::new(source, settling, origin, &self.route, self.deadline)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use garrison_guard::Taint;
    use garrison_route::{LastResort, Need, Needs, Place, Policy, Prefer, Quality, Scope, Task, Tier};
    use serde_json::json;

    use super::*;
    use crate::cache::{AnswerCache, CacheSettings, Compare};
    use crate::journey::{Ask, Delivery, Words};
    use crate::routes::{OnCut, Route, Routes, Target};

    fn ask() -> Ask {
        let chat = json!({"messages": [{"role": "user", "content": "Hi"}], "temperature": 0});
        Ask {
            id: "r".into(),
            key: "anna".into(),
            chat: chat.as_object().unwrap().clone(),
            words: Words::Chat,
            taint: Taint::Clean,
            output_tokens: None,
            choices: 1,
            needs: Needs::NONE,
            task: Task::Chat,
            sticky: 0,
            delivery: Delivery::Stream,
            tally: Arc::default(),
        }
    }

    /// A route whose model here answers all, where its answers are kept. First tokens are waited for so long.
    fn routes(first_token: Duration) -> (Arc<Routes>, Arc<Route>) {
        let here = Tier {
            name: "local/m".into(),
            place: Place::Local,
            price: Price::FREE,
            context: 1000,
            max_output: None,
            has: Need::ALL.into_iter().collect(),
            quality: Quality::even(100),
            weight: 0,
            scope: Scope::default(),
        };
        let route = Route {
            name: "auto".into(),
            policy: Policy {
                tiers: Vec::new(),
                private: Some(here),
                prefer: Prefer::Listed,
                least_quality: 0,
                max_cost: None,
                last_resort: LastResort::Local,
                cascade: None,
            },
            targets: vec![Target::Local("m".into())],
            first_token,
            stall: Duration::from_secs(1),
            deadline: Duration::from_secs(600),
            hedge: None,
            on_cut: OnCut::Error,
            answers: Compare::Equal,
        };
        let cache = AnswerCache::new(CacheSettings { ttl: Duration::from_secs(60), bytes: 1 << 20 });
        let routes = Routes::new(vec![route], Vec::new(), None, None).keeping(cache, Keeps::Everywhere);
        let route = Arc::clone(routes.find("auto").unwrap());
        (Arc::new(routes), route)
    }

    #[tokio::test(start_paused = true)]
    async fn equal_requests_wait_for_a_model_here_no_longer_than_for_a_first_token() {
        let (routes, route) = routes(Duration::from_secs(5));
        let set_out = || routes.begin(&route, ask());
        let (first, second, third) = (set_out(), set_out(), set_out());
        let LookedHere::Lead(slow) = first.look_up_here("local/m", "m#0").await else {
            panic!("nobody leads")
        };
        let begun = Instant::now();
        let looked = second.look_up_here("local/m", "m#0").await;
        assert!(matches!(looked, LookedHere::Lead(_)), "it leads, and others wait for it");
        assert_eq!(begun.elapsed().as_secs(), 5);
        // Whoever waits less than that gets the answer, whichever of the two gives it.
        let land = async move {
            tokio::time::sleep(Duration::from_secs(4)).await;
            let mut slow = slow;
            slow.hear(&Delta::Text("Hi".into()));
            slow.land();
        };
        let (looked, ()) = tokio::join!(third.look_up_here("local/m", "m#0"), land);
        assert!(matches!(looked, LookedHere::Answer(said) if said == [Delta::Text("Hi".into())]));
    }
}
