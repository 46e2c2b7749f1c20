//! Sections as they are written, and what is said of mistakes.

use std::time::Duration;

use garrison_gateway::{
    Cascade, Compare, Continues, Learning, OnCut, Price, Route, Scope, Statistic, Target, Task, Threshold,
};
use serde::Deserialize;

use super::{ProviderSection, RouteSection, RouteSettings};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    provider: Vec<ProviderSection>,
    #[serde(default)]
    route: Vec<RouteSection>,
}

fn resolve(text: &str) -> Result<RouteSettings, String> {
    let file: File = toml::from_str(text).map_err(|e| e.message().to_owned())?;
    let variable = |name: &str| (name == "SET").then(|| "sk-1\n".to_owned());
    RouteSettings::resolve(&file.provider, &file.route, &["tiny", "tone"], &variable)
        .map_err(|e| e.to_string())
}

const PROVIDER: &str = "[[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
    api_key_env = \"SET\"\nprice = { \"org/m\" = { input = 3.0, output = 15.0, cached_input = 0.3, cache_write = 3.75, max_output = 4096 } }\n";

#[test]
fn sections_become_routes() {
    let text = format!(
        "{PROVIDER}[[route]]\nname = \"auto\"\ntiers = [\"up/org/m\", \"local/tone\"]\nprivate = \"local/tiny\"\n\
         timeout_ms = 5000\nmax_cost_usd = 0.10\nprefer = \"cheapest\"\nleast_quality = 60\n\
         quality = {{ \"local/tone\" = {{ code = 20 }} }}\nweights = {{ \"up/org/m\" = 3 }}\n\
         only = {{ \"up/org/m\" = {{ languages = [\"en\", \"de\"], prompt_tokens = [10, 4000] }} }}\n"
    );
    let settings = resolve(&text).unwrap();
    assert!(settings.leave());
    assert_eq!(settings.providers[0].api_key.as_deref(), Some("sk-1"));
    let Route { policy, targets, first_token, .. } = &settings.routes[0];
    assert_eq!(*first_token, Duration::from_secs(5));
    assert_eq!(
        targets[0],
        Target::Remote { provider: 0, model: "org/m".into(), continues: Continues::WhenTold }
    );
    assert_eq!((policy.cascade, settings.routes[0].on_cut), (None, OnCut::Error));
    assert_eq!(targets[1..], [Target::Local("tone".into()), Target::Local("tiny".into())]);
    let Price { cached_input, cache_write, .. } = policy.tiers[0].price;
    assert_eq!((cached_input, cache_write, policy.tiers[0].weight), (300, 3750, 3));
    assert_eq!((policy.tiers[0].max_output, policy.tiers[1].max_output), (Some(4096), None));
    assert_eq!(policy.tiers[1].quality.at(Task::Code), 20);
    let scope = &policy.tiers[0].scope;
    assert_eq!((scope.languages.len(), &scope.prompt_tokens), (2, &(10..=4000)));
    assert_eq!(policy.tiers[1].scope, Scope::default());
    assert!(!format!("{settings:?}").contains("sk-1"), "no key is shown");
    assert!(!resolve("").unwrap().leave());
}

#[test]
fn a_cascade_and_what_becomes_of_broken_answers_are_read() {
    let route = |cascade: &str| {
        let provider = PROVIDER.replace("output = 15.0", "output = 15.0, prefill = true");
        let text = format!(
            "{provider}[[route]]\nname = \"auto\"\ntiers = [\"local/tiny\", \"up/org/m\"]\nprivate = \"local/tiny\"\n\
             on_cut = \"continue\"\ncascade = {{ {cascade} }}\n"
        );
        resolve(&text).unwrap().routes.remove(0)
    };
    let usual = route("least_confidence = 0.4");
    let statistic = Statistic::Quantile { share: 0.1 };
    assert_eq!(
        usual.policy.cascade,
        Some(Cascade { statistic, threshold: Threshold::Fixed(0.4), after: None })
    );
    assert_eq!(usual.on_cut, OnCut::Continue);
    let prefill = Target::Remote { provider: 0, model: "org/m".into(), continues: Continues::FromPrefix };
    assert_eq!(usual.targets[1], prefill);
    let mean = route("least_confidence = 0.6, by = \"mean\", after_tokens = 16").policy.cascade;
    let threshold = Threshold::Fixed(0.6);
    assert_eq!(mean, Some(Cascade { statistic: Statistic::Mean, threshold, after: Some(16) }));
    let least = route("least_confidence = 0.2, quantile = 0.0").policy.cascade.unwrap();
    assert_eq!(least.statistic, Statistic::Quantile { share: 0.0 });
    let learned = route("max_error = 0.05");
    let learning = Learning { max_error: 0.05, floor: 0.0, ceiling: None, compare: 0.05 };
    let threshold = Threshold::Learned(learning);
    assert_eq!(learned.policy.cascade, Some(Cascade { statistic, threshold, after: None }));
    assert_eq!(learned.answers, Compare::Equal);
    let learned = route("max_error = 0.1, least_confidence = [0.2, 0.9], compare = 0.5, answers = 0.95");
    let learning = Learning { max_error: 0.1, floor: 0.2, ceiling: Some(0.9), compare: 0.5 };
    assert_eq!(learned.policy.cascade.unwrap().threshold, Threshold::Learned(learning));
    assert_eq!(learned.answers, Compare::Alike(0.95));
}

#[test]
fn mistakes_name_the_section_and_the_key() {
    let route = |rest: &str| format!("{PROVIDER}[[route]]\nname = \"auto\"\n{rest}\n");
    let provider = |from: &str, to: &str| PROVIDER.replace(from, to);
    let only =
        |keys: &str| route(&format!("tiers = [\"local/tiny\"]\nonly = {{ \"local/tiny\" = {{ {keys} }} }}"));
    let cascade =
        |keys: &str| route(&format!("tiers = [\"local/tiny\", \"local/tone\"]\ncascade = {{ {keys} }}"));
    for (text, wanted) in [
        (provider("\"SET\"", "\"NOT_SET\""), "\"up\": api_key_env names NOT_SET"),
        (provider("\"openai\"", "\"open\""), "kind \"open\""),
        (provider("= 3.0", "= -3.0"), "price of \"org/m\""),
        (provider("3.75", "-3.75"), "price of \"org/m\""),
        (provider("base_url", "url"), "url"),
        (format!("{PROVIDER}{PROVIDER}"), "two are called \"up\""),
        (provider("\"up\"", "\"local\""), "cannot be a name"),
        (route("tiers = []"), "tiers is empty"),
        (route("tiers = [\"tiny\"]"), "PROVIDER/MODEL"),
        (route("tiers = [\"down/m\"]"), "down/m names no [[provider]]"),
        (route("tiers = [\"up/m\"]"), "up/m has no price"),
        (route("tiers = [\"local/large\"]"), "no model \"large\""),
        (route("tiers = [\"local/tiny\", \"local/tiny\"]"), "two are called"),
        (route("tiers = [\"up/org/m\"]"), "needs private"),
        (route("tiers = [\"up/org/m\"]\nprivate = \"up/org/m\""), "must be local/MODEL"),
        (route("tiers = [\"local/tiny\"]\nweights = { x = 1 }"), "weights has \"x\""),
        (
            route("tiers = [\"local/tiny\"]\nquality = { \"local/tiny\" = { poems = 1 } }"),
            "no task \"poems\"",
        ),
        (route("tiers = [\"local/tiny\"]\nmax_cost_usd = -1.0"), "max_cost_usd is -1"),
        (route("tiers = [\"local/tiny\"]\nprefer = \"best\""), "best"),
        (route("tiers = [\"local/tiny\"]\non_cut = \"again\""), "again"),
        (route("tiers = [\"local/tiny\"]\nonly = { x = {} }"), "only has \"x\""),
        (only("languages = [\"klingon\"]"), "only.\"local/tiny\".languages has \"klingon\"; known: "),
        (only("languages = []"), "languages is empty"),
        (only("prompt_tokens = [5, 4]"), "only.\"local/tiny\".prompt_tokens"),
        (only("length = 5"), "length"),
        (cascade("least_confidence = 1.5"), "cascade.least_confidence is 1.5"),
        (cascade("least_confidence = 0.5, quantile = -0.1"), "cascade.quantile is -0.1"),
        (cascade("least_confidence = 0.5, by = \"mean\", quantile = 0.1"), "cascade.quantile says nothing"),
        (cascade("least_confidence = 0.5, by = \"entropy\""), "entropy"),
        (cascade("least_confidence = 0.5, after_tokens = 0"), "cascade.after_tokens"),
        (cascade("least = 0.5"), "least"),
        (cascade("after_tokens = 5"), "cascade.least_confidence is missing"),
        (cascade("least_confidence = [0.1, 0.9]"), "needs max_error"),
        (cascade("least_confidence = 0.5, compare = 0.1"), "cascade.compare says nothing"),
        (cascade("least_confidence = 0.5, answers = \"equal\""), "cascade.answers says nothing"),
        (cascade("max_error = 0.001"), "cascade.max_error is 0.001"),
        (cascade("max_error = 0.1, compare = 0.0"), "cascade.compare is 0"),
        (cascade("max_error = 0.1, least_confidence = 0.5"), "must be the lowest and the highest"),
        (cascade("max_error = 0.1, least_confidence = [0.9, 0.5]"), "must be the lowest and the highest"),
        (cascade("max_error = 0.1, least_confidence = [0.5, 2.0]"), "cascade.least_confidence is 2"),
        (cascade("max_error = 0.1, answers = \"same\""), "cascade.answers can be"),
        (cascade("max_error = 0.1"), "only the first of tiers may be here; local/tone is, too"),
        (cascade("least_confidence = 0.5") + "prefer = \"cheapest\"\n", "prefer must be \"listed\""),
        (route("tiers = [\"local/tiny\"]\ncascade = { least_confidence = 0.5 }"), "another after it"),
        (
            route(
                "tiers = [\"up/org/m\", \"local/tiny\"]\nprivate = \"local/tiny\"\n\
                 cascade = { least_confidence = 0.5 }",
            ),
            "local/MODEL as the first",
        ),
    ] {
        let said = resolve(&text).unwrap_err();
        assert!(said.contains(wanted), "{text}: {said}");
    }
}

#[test]
fn a_url_that_is_none_is_named_when_it_is_opened() {
    let text = PROVIDER.replace("http://", "ftp://");
    assert!(resolve(&text).unwrap().open(None, None).unwrap_err().to_string().contains("\"up\": base_url"));
    let text = PROVIDER.replace("http://", "http://anna:secret@");
    let said = resolve(&text).unwrap().open(None, None).unwrap_err().to_string();
    assert!(said.contains("\"up\": base_url has a name or a password") && !said.contains("secret"), "{said}");
}
