//! `guard = { … }` of a `[[model]]` or a `[[route]]`: what is judged there otherwise than `[guard]` says.

use std::collections::BTreeMap;

use garrison_gateway::Exception;
use serde::Deserialize;

use super::config::PrivacySection;
use super::policy::{GuardSection, InputWord, OutputWord, PolicyWord};
use crate::error::Fault;

/// Policies of one model or route; what is left out is as `[guard]` has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardException {
    injection: Option<PolicyWord>,
    tool_injection: Option<PolicyWord>,
    system_injection: Option<PolicyWord>,
    input: Option<InputWord>,
    output: Option<OutputWord>,
    system_prompt: Option<PolicyWord>,
    rules: Option<PolicyWord>,
}

/// Exceptions by the name of the model or route.
pub(crate) type GuardExceptions = BTreeMap<String, GuardException>;

impl GuardException {
    /// `[guard]` as it is for this model or route.
    pub(super) fn over(&self, base: &GuardSection) -> GuardSection {
        let mut section = base.clone();
        // Attacks in tools' texts are treated as those of clients unless somebody says otherwise, here as there.
        section.injection = self.injection.or(base.injection);
        section.tool_injection = self.tool_injection.or(base.tool_injection);
        section.system_injection = self.system_injection.or(base.system_injection);
        section.input = self.input.or(base.input);
        section.output = self.output.or(base.output);
        section.system_prompt = self.system_prompt.or(base.system_prompt);
        section.rules = self.rules.or(base.rules);
        // What belongs to a policy goes with it.
        if !matches!(section.output, Some(OutputWord::Redact)) {
            section.operators.clear();
            section.hash_key = None;
        }
        if matches!(section.system_prompt, None | Some(PolicyWord::Off)) {
            section.canary = None;
        }
        section
    }

    /// What the gateway is told.
    ///
    /// # Errors
    /// If the policies contradict each other; the sentence names the model or route.
    pub(super) fn resolve(
        &self,
        name: &str,
        base: &GuardSection,
        privacy: &PrivacySection,
    ) -> Result<Exception, Fault> {
        let settings = self
            .over(base)
            .settings(privacy)
            .map_err(|e| Fault::usage(format!("guard of \"{name}\": {e}")))?;
        Ok(Exception { requests: settings.requests, answers: settings.answers })
    }
}
