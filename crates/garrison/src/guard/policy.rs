//! The `[guard]` section of garrison.toml, and with `[privacy]` the gateway that `serve` judges with.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use garrison_encoder::{NameDetector, USUAL_BUDGET};
use garrison_gateway::{
    AnswerPolicy, Audit, Budget, Clearance, Detector, Gateway, InAnswers, InRequests, Operator, Operators,
    Policy, RequestPolicy, Rule, ScanDetector, Settings, Topic, vocabulary,
};
use garrison_guard::injection::Policies;
use garrison_guard::{Durability, Finder, FinderDetector, LogConfig, ReceiptLog, Scanner, SigningKey};
use serde::Deserialize;

use super::config::{PrivacySection, SurviveWord};
use super::exceptions::GuardExceptions;
use super::models::{self, Models};
use super::scan::LooksFor;
use crate::error::Fault;

/// The section, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardSection {
    /// Attacks in what clients write.
    pub(super) injection: Option<PolicyWord>,
    /// Attacks in what tools give back and say of themselves; as `injection` unless given.
    pub(super) tool_injection: Option<PolicyWord>,
    /// A model that judges attacks beside the built-in classifier: a folder, a manifest, or `hf:OWNER/REPO`.
    classifier: Option<String>,
    /// A model that judges answers beside rules and topics, under their policy: a folder, a manifest, or `hf:OWNER/REPO`.
    answer_classifier: Option<String>,
    /// Attacks in system prompts.
    pub(super) system_injection: Option<PolicyWord>,
    /// Personal data and secrets in requests.
    pub(super) input: Option<InputWord>,
    /// Personal data and secrets in answers.
    pub(super) output: Option<OutputWord>,
    /// What becomes of what is found in answers: by entity, and `default` for all others.
    #[serde(default)]
    pub(super) operators: BTreeMap<String, OperatorWord>,
    /// The file with the key of `hash`.
    pub(super) hash_key: Option<PathBuf>,
    /// The system prompt's own words in answers.
    pub(super) system_prompt: Option<PolicyWord>,
    /// Whether system prompts get a mark that is known again.
    pub(super) canary: Option<bool>,
    /// Topics and rules; `block` unless given.
    pub(super) rules: Option<PolicyWord>,
    #[serde(default)]
    topic: Vec<TopicSection>,
    #[serde(default)]
    rule: Vec<RuleSection>,
    /// The time that judging may take, and for each kilobyte.
    timeout_ms: Option<u32>,
    timeout_ms_per_kb: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PolicyWord {
    Off,
    Flag,
    Block,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum InputWord {
    Off,
    Flag,
    Pseudonyms,
    Block,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OutputWord {
    Off,
    Flag,
    Redact,
    Block,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OperatorWord {
    Replace,
    Mask,
    Hash,
    Drop,
    Pseudonym,
    Block,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicSection {
    name: String,
    words: Vec<String>,
    /// Different words that make a text one about the topic.
    least: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSection {
    name: String,
    regex: String,
}

impl PolicyWord {
    fn policy(word: Option<PolicyWord>) -> Policy {
        match word {
            None | Some(PolicyWord::Off) => Policy::Off,
            Some(PolicyWord::Flag) => Policy::Flag,
            Some(PolicyWord::Block) => Policy::Block,
        }
    }
}

impl From<OperatorWord> for Operator {
    fn from(word: OperatorWord) -> Operator {
        match word {
            OperatorWord::Replace => Operator::Replace,
            OperatorWord::Mask => Operator::Mask,
            OperatorWord::Hash => Operator::Hash,
            OperatorWord::Drop => Operator::Drop,
            OperatorWord::Pseudonym => Operator::Pseudonym,
            OperatorWord::Block => Operator::Stop,
        }
    }
}

/// What the classifier of answers finds, as reports have it.
const UNSAFE_ANSWER: &str = "unsafe_answer";

/// Whether a configuration lets anything leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    Nothing,
    Something,
}

/// Where receipts are written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Receipts<'a> {
    /// Into a log that has to be opened, if the section names one.
    Open,
    /// Into the log that the section names and that is open already.
    Continue(&'a Audit),
}

/// What `serve` judges with.
pub(crate) struct Judges {
    pub(crate) gateway: Gateway,
    /// Where receipts go, if they are written.
    pub(crate) audit: Option<Audit>,
    /// The model of `[privacy] model`, loaded: it judges requests, and what leaves.
    pub(crate) names: Option<Arc<dyn Finder>>,
}

/// What `serve` judges with.
///
/// # Errors
/// If the sections contradict themselves, or a file cannot be used.
pub(crate) fn judges(
    privacy: &PrivacySection,
    guard: &GuardSection,
    exceptions: &GuardExceptions,
    leaves: Leaves,
    receipts: Receipts<'_>,
) -> Result<Judges, Fault> {
    let mut settings = guard.settings(privacy)?;
    for (name, exception) in exceptions {
        settings.exceptions.insert(name.clone(), exception.resolve(name, guard, privacy)?);
    }
    let names = load_models(&mut settings, privacy, guard, leaves)?;
    if let Some(path) = &privacy.receipts {
        if !settings.judge_any() && leaves == Leaves::Nothing {
            return Err(Fault::usage(
                "[privacy]: receipts is set, but [guard] has nothing judged and no [[route]] lets anything leave \
                 that they could tell of",
            ));
        }
        settings.audit = Some(match receipts {
            Receipts::Open => audit(path, privacy)?,
            Receipts::Continue(audit) => audit.clone(),
        });
    } else if privacy.receipts_key.is_some()
        || privacy.receipts_per_file.is_some()
        || privacy.receipts_survive.is_some()
    {
        return Err(Fault::usage(
            "[privacy]: receipts_key, receipts_per_file and receipts_survive need receipts, the file they are for",
        ));
    } else if leaves == Leaves::Something {
        return Err(Fault::usage(
            "[privacy]: a [[route]] has tiers elsewhere, so receipts and receipts_key are needed: nothing leaves \
             without a receipt",
        ));
    }
    let audit = settings.audit.clone();
    let gateway = Gateway::new(settings).map_err(|e| Fault::usage(e.to_string()))?;
    Ok(Judges { gateway, audit, names })
}

/// What judges whatever would leave, exact bytes: all recognizers of `[privacy]`, and its model if it names one, which
/// `names` is then. `models` are what providers call the models that the owner's routes name.
///
/// # Errors
/// If an entity of the owner's cannot be looked for.
pub(crate) fn clearance<'a>(
    privacy: &PrivacySection,
    guard: &GuardSection,
    audit: Audit,
    names: Option<Arc<dyn Finder>>,
    models: impl Iterator<Item = &'a str>,
) -> Result<Clearance, Fault> {
    let budget = guard.settings(privacy)?.budget;
    let scanner = Scanner::new(&privacy.resolve()?).map_err(|e| Fault::usage(e.to_string()))?;
    let mut detectors: Vec<Arc<dyn Detector>> = vec![Arc::new(ScanDetector(Arc::new(scanner)))];
    let mut demanded = vec!["patterns".to_owned()];
    // By what the owner wrote and not by what there is: a model that got lost on the way here is missed.
    if privacy.model.is_some() {
        demanded.push(NameDetector::NAME.to_owned());
    }
    if let Some(names) = names {
        let known = vocabulary().map(str::to_owned).chain(models.map(str::to_owned));
        detectors.push(Arc::new(FinderDetector::new(names, budget, known)));
    }
    Ok(Clearance::new(detectors, demanded, budget, Arc::new(audit)))
}

/// Loads the models that judge beside the rules and the built-in classifier. What they are for must be judged: a model
/// that nobody asks would only seem to look. Gives the model of names, which also judges what leaves.
fn load_models(
    settings: &mut Settings,
    privacy: &PrivacySection,
    guard: &GuardSection,
    leaves: Leaves,
) -> Result<Option<Arc<dyn Finder>>, Fault> {
    let budget = settings.budget;
    let looks = settings.looks_for();
    let mut of_requests: Option<Arc<dyn Finder>> = None;
    if let Some(name) = &privacy.model {
        let key = "[privacy] model";
        if !looks.private && leaves == Leaves::Nothing {
            let message = format!(
                "{key} needs [guard] input = \"flag\", \"pseudonyms\" or \"block\", or a [[route]] with tiers \
                 elsewhere: it judges requests, and what leaves"
            );
            return Err(Fault::usage(message));
        }
        let names: Arc<dyn Finder> = models::names(key, name, budget)?;
        settings.request_finders.push(Arc::clone(&names));
        of_requests = Some(names);
    }
    if let Some(name) = &privacy.answer_model {
        let key = "[privacy] answer_model";
        if !looks.answers {
            let message =
                format!("{key} needs [guard] output = \"flag\", \"redact\" or \"block\": it judges answers");
            return Err(Fault::usage(message));
        }
        settings.answer_finders.push(models::names(key, name, budget)?);
    }
    if let Some(name) = &guard.classifier {
        let key = "[guard] classifier";
        if !looks.attacks {
            let message = format!(
                "{key} needs injection, tool_injection or system_injection to be \"flag\" or \"block\""
            );
            return Err(Fault::usage(message));
        }
        settings.request_detectors.push(Arc::new(models::classifier(key, name, budget)?));
    }
    if let Some(name) = &guard.answer_classifier {
        let key = "[guard] answer_classifier";
        if !looks.rules {
            return Err(Fault::usage(format!(
                "{key} needs rules to be \"flag\" or \"block\": it judges answers"
            )));
        }
        let model = models::classifier(key, name, budget)?.saying(UNSAFE_ANSWER);
        settings.answer_detectors.push(Arc::new(model));
    }
    Ok(of_requests)
}

fn audit(path: &Path, privacy: &PrivacySection) -> Result<Audit, Fault> {
    let Some(key) = &privacy.receipts_key else {
        let message = "[privacy]: receipts needs receipts_key, a file that `garrison audit key FILE` makes";
        return Err(Fault::usage(message));
    };
    let key = SigningKey::from_seed(secret(key)?);
    let mut config = LogConfig::new(path.to_owned());
    if let Some(lines) = privacy.receipts_per_file {
        config.max_lines = lines.get();
    }
    config.durability = match privacy.receipts_survive {
        None | Some(SurviveWord::Power) => Durability::Power,
        Some(SurviveWord::Kill) => Durability::Kill,
    };
    let log = ReceiptLog::open(config, key).map_err(|e| Fault::usage(format!("receipts: {e}")))?;
    Audit::new(log).map_err(|e| Fault::failed(format!("receipts: {e}")))
}

/// The 32 bytes that a key file holds as hexadecimal digits.
fn secret(path: &Path) -> Result<[u8; 32], Fault> {
    let refuse = |e: &dyn std::fmt::Display| Fault::usage(format!("key file {}: {e}", path.display()));
    let text = fs::read_to_string(path).map_err(|e| refuse(&e))?;
    let mode = fs::metadata(path).map_err(|e| refuse(&e))?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!("key file {} can be read by others; chmod 600 it", path.display());
    }
    garrison_guard::secret_from_hex(&text).ok_or_else(|| {
        refuse(&"it must hold 64 hexadecimal digits, as `garrison audit key FILE` writes them")
    })
}

impl GuardSection {
    /// The models that look at a file: those of requests, whatever the policies are.
    ///
    /// # Errors
    /// If one cannot be loaded.
    pub(super) fn models(&self, privacy: &PrivacySection, looks_for: LooksFor) -> Result<Models, Fault> {
        let budget = self.settings(privacy)?.budget;
        let mut models = Models::default();
        if let Some(name) = privacy.model.as_ref().filter(|_| looks_for == LooksFor::Everything) {
            models.names = Some(models::names("[privacy] model", name, budget)?);
        }
        if let Some(name) = &self.classifier {
            models.attacks = Some(Arc::new(models::classifier("[guard] classifier", name, budget)?));
        }
        Ok(models)
    }

    pub(super) fn settings(&self, privacy: &PrivacySection) -> Result<Settings, Fault> {
        let user = PolicyWord::policy(self.injection);
        let tool = self.tool_injection.map_or(user, |word| PolicyWord::policy(Some(word)));
        let private = match self.input {
            None | Some(InputWord::Off) => InRequests::Off,
            Some(InputWord::Flag) => InRequests::Flag,
            Some(InputWord::Pseudonyms) => InRequests::Pseudonyms,
            Some(InputWord::Block) => InRequests::Block,
        };
        let ruled = !self.topic.is_empty() || !self.rule.is_empty() || self.answer_classifier.is_some();
        let answers = AnswerPolicy {
            private: self.output(privacy, private)?,
            system_prompt: PolicyWord::policy(self.system_prompt),
            canary: self.canary.unwrap_or(false),
            rules: PolicyWord::policy(self.rules.or(ruled.then_some(PolicyWord::Block))),
        };
        if answers.canary && answers.system_prompt == Policy::Off {
            return Err(Fault::usage("[guard]: canary needs system_prompt = \"flag\" or \"block\""));
        }
        let topic = |topic: &TopicSection| Topic {
            name: topic.name.clone(),
            words: topic.words.clone(),
            least: topic.least.unwrap_or(2),
        };
        let rule = |rule: &RuleSection| Rule { name: rule.name.clone(), pattern: rule.regex.clone() };
        let defaults = Settings::default();
        // Models take longer than rules.
        let models = [&privacy.model, &privacy.answer_model, &self.classifier, &self.answer_classifier];
        let budget = if models.iter().any(|model| model.is_some()) { USUAL_BUDGET } else { defaults.budget };
        let ms = |ms: Option<u32>, default| ms.map_or(default, |ms| Duration::from_millis(ms.into()));
        Ok(Settings {
            scan: privacy.resolve()?,
            requests: RequestPolicy {
                injection: Policies { user, retrieved: tool, tool },
                system: PolicyWord::policy(self.system_injection),
                private,
            },
            answers,
            topics: self.topic.iter().map(topic).collect(),
            rules: self.rule.iter().map(rule).collect(),
            budget: Budget {
                start: ms(self.timeout_ms, budget.start),
                per_kilobyte: ms(self.timeout_ms_per_kb, budget.per_kilobyte),
            },
            ..defaults
        })
    }

    fn output(&self, privacy: &PrivacySection, input: InRequests) -> Result<InAnswers, Fault> {
        let redacts = matches!(self.output, Some(OutputWord::Redact));
        if !redacts && (!self.operators.is_empty() || self.hash_key.is_some()) {
            return Err(Fault::usage("[guard]: operators and hash_key need output = \"redact\""));
        }
        Ok(match self.output {
            None | Some(OutputWord::Off) => InAnswers::Off,
            Some(OutputWord::Flag) => InAnswers::Flag,
            Some(OutputWord::Block) => InAnswers::Block,
            Some(OutputWord::Redact) => InAnswers::Redact(self.operators(privacy, input)?),
        })
    }

    fn operators(&self, privacy: &PrivacySection, input: InRequests) -> Result<Operators, Fault> {
        let uses = |word| self.operators.values().any(|operator| *operator == word);
        if uses(OperatorWord::Pseudonym) && input == InRequests::Pseudonyms {
            let message = "[guard]: the operator pseudonym does not go with input = \"pseudonyms\": its names would \
                           be taken for those that lead back";
            return Err(Fault::usage(message));
        }
        let mut operators = Operators::all(Operator::Replace);
        for (name, word) in &self.operators {
            match name.as_str() {
                "default" => operators.default = (*word).into(),
                name => operators.by_entity.push((privacy.entity(name)?, (*word).into())),
            }
        }
        match (&self.hash_key, uses(OperatorWord::Hash)) {
            (Some(path), _) => operators.key = secret(path)?,
            (None, false) => {}
            (None, true) => {
                let message = "[guard]: the operator hash needs hash_key, a file that `garrison audit key FILE` makes: \
                               without it, values could be tried";
                return Err(Fault::usage(message));
            }
        }
        Ok(operators)
    }
}
