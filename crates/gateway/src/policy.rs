//! What the owner wants done with what is found.

use std::collections::BTreeMap;
use std::sync::Arc;

use garrison_guard::injection::{Policies, Policy, Rule, Topic};
use garrison_guard::{Budget, Detector, Finder, Operators, ScanConfig};

use crate::audit::Audit;

/// Personal data and secrets in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InRequests {
    /// Nobody looks.
    #[default]
    Off,
    /// It goes on, and the request is marked.
    Flag,
    /// The model gets names instead, and whoever asked gets the values back in the answer.
    Pseudonyms,
    /// The request goes no further.
    Block,
}

/// Personal data and secrets in answers.
#[derive(Clone, Debug, Default)]
pub enum InAnswers {
    /// Nobody looks.
    #[default]
    Off,
    /// It is shown, and the answer is marked.
    Flag,
    /// What the operators make of it is shown.
    Redact(Operators),
    /// The answer ends before it.
    Block,
}

/// What is done with requests.
#[derive(Clone, Copy, Debug)]
pub struct RequestPolicy {
    /// Attacks, by where a text comes from.
    pub injection: Policies,
    /// Attacks in system prompts, whose author is usually the owner.
    pub system: Policy,
    /// Personal data and secrets.
    pub private: InRequests,
}

/// What is done with answers.
#[derive(Clone, Debug)]
pub struct AnswerPolicy {
    /// Personal data and secrets.
    pub private: InAnswers,
    /// The system prompt's own words.
    pub system_prompt: Policy,
    /// Whether system prompts get a line that stands nowhere else, so that even a paraphrase that takes it
    /// along is known.
    pub canary: bool,
    /// Topics, rules and further detectors.
    pub rules: Policy,
}

impl RequestPolicy {
    fn looks_for_attacks(&self) -> bool {
        let RequestPolicy { injection, system, .. } = self;
        [injection.user, injection.retrieved, injection.tool, *system] != [Policy::Off; 4]
    }
}

impl Default for RequestPolicy {
    fn default() -> Self {
        let injection = Policies { user: Policy::Off, retrieved: Policy::Off, tool: Policy::Off };
        RequestPolicy { injection, system: Policy::Off, private: InRequests::Off }
    }
}

impl Default for AnswerPolicy {
    fn default() -> Self {
        AnswerPolicy {
            private: InAnswers::Off,
            system_prompt: Policy::Off,
            canary: false,
            rules: Policy::Off,
        }
    }
}

/// What is done for one model or route instead of what is done for all.
#[derive(Clone, Debug, Default)]
pub struct Exception {
    /// With its requests.
    pub requests: RequestPolicy,
    /// With its answers.
    pub answers: AnswerPolicy,
}

/// What [`Settings`] ask of detectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LooksFor {
    /// Attacks in requests.
    pub attacks: bool,
    /// Personal data in requests.
    pub private: bool,
    /// Whatever rules and further detectors say of answers.
    pub rules: bool,
    /// Personal data in answers.
    pub answers: bool,
}

/// Everything a gateway is told. By default nothing is judged.
#[derive(Clone)]
pub struct Settings {
    /// What counts as personal data.
    pub scan: ScanConfig,
    /// What is done with requests.
    pub requests: RequestPolicy,
    /// What is done with answers.
    pub answers: AnswerPolicy,
    /// What is done otherwise, by the name of the model or route.
    pub exceptions: BTreeMap<String, Exception>,
    /// Topics to stay away from.
    pub topics: Vec<Topic>,
    /// Expressions that no answer may match.
    pub rules: Vec<Rule>,
    /// Further judges of attacks in requests, under the policy of each text's source.
    pub request_detectors: Vec<Arc<dyn Detector>>,
    /// What finds personal data in requests beside the rules, under their policy.
    pub request_finders: Vec<Arc<dyn Finder>>,
    /// Further judges of answers, under the policy of the rules.
    pub answer_detectors: Vec<Arc<dyn Detector>>,
    /// What finds names in answers beside the recognizers, under the policy of what is private there.
    pub answer_finders: Vec<Arc<dyn Finder>>,
    /// The time that judging has.
    pub budget: Budget,
    /// Where receipts go.
    pub audit: Option<Audit>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            scan: ScanConfig::default(),
            requests: RequestPolicy::default(),
            answers: AnswerPolicy::default(),
            exceptions: BTreeMap::new(),
            topics: Vec::new(),
            rules: Vec::new(),
            request_detectors: Vec::new(),
            request_finders: Vec::new(),
            answer_detectors: Vec::new(),
            answer_finders: Vec::new(),
            budget: DEFAULT_BUDGET,
            audit: None,
        }
    }
}

/// Far more than judging takes, so that it is over only where something is wrong.
pub(crate) const DEFAULT_BUDGET: Budget =
    Budget { start: std::time::Duration::from_secs(1), per_kilobyte: std::time::Duration::from_millis(10) };

impl Settings {
    /// Whether anything is judged by them, for all or for some model or route.
    pub fn judge_any(&self) -> bool {
        self.judge() || self.exceptions.keys().any(|name| self.for_name(name).judge())
    }

    /// What is asked of detectors, for all or for some model or route.
    pub fn looks_for(&self) -> LooksFor {
        let names = self.exceptions.keys().map(|name| self.for_name(name));
        let mut looks = LooksFor::default();
        for Settings { requests, answers, .. } in std::iter::once(self.for_name("")).chain(names) {
            looks.attacks |= requests.looks_for_attacks();
            looks.private |= requests.private != InRequests::Off;
            looks.rules |= answers.rules != Policy::Off;
            looks.answers |= !matches!(answers.private, InAnswers::Off);
        }
        looks
    }

    /// What this model or route is told alone.
    pub(crate) fn for_name(&self, name: &str) -> Settings {
        let all = Settings { exceptions: BTreeMap::new(), ..self.clone() };
        match self.exceptions.get(name).cloned() {
            Some(Exception { requests, answers }) => Settings { requests, answers, ..all },
            None => all,
        }
    }

    /// Whether anything is judged where there is no exception.
    pub(crate) fn judge(&self) -> bool {
        self.requests.looks_for_attacks() || self.requests.private != InRequests::Off || self.judges_answers()
    }

    fn judges_answers(&self) -> bool {
        !matches!(self.answers.private, InAnswers::Off)
            || [self.answers.system_prompt, self.answers.rules] != [Policy::Off; 2]
    }

    /// Who judges requests, and who answers: names and versions, as receipts have them.
    pub(crate) fn detectors(&self) -> (Vec<String>, Vec<String>) {
        let version = env!("CARGO_PKG_VERSION");
        let own = |name: &str, judges: bool| judges.then(|| format!("{name}/{version}"));
        let further = |detectors: &[Arc<dyn Detector>], ask: bool| -> Vec<String> {
            detectors.iter().filter(|_| ask).map(|detector| detector.id().to_owned()).collect()
        };
        let attacks = self.requests.looks_for_attacks();
        let private = self.requests.private != InRequests::Off;
        let requests = [own("patterns", private), own("injection", attacks)];
        let named = |finders: &[Arc<dyn Finder>], ask: bool| -> Vec<String> {
            finders.iter().filter(|_| ask).map(|finder| finder.id().to_owned()).collect()
        };
        let rules = self.answers.rules != Policy::Off;
        let hidden = !matches!(self.answers.private, InAnswers::Off);
        let answers = [
            own("patterns", hidden),
            own("system_prompt", self.answers.system_prompt != Policy::Off),
            own("rules", rules),
        ];
        (
            requests
                .into_iter()
                .flatten()
                .chain(further(&self.request_detectors, attacks))
                .chain(named(&self.request_finders, private))
                .collect(),
            answers
                .into_iter()
                .flatten()
                .chain(further(&self.answer_detectors, rules))
                .chain(named(&self.answer_finders, hidden))
                .collect(),
        )
    }
}
