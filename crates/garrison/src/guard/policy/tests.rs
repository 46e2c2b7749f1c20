//! What the sections become, and which mistakes are named.

use garrison_gateway::{DetectorError, Taint, Tainted};
use garrison_guard::Named;

use super::*;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    privacy: PrivacySection,
    #[serde(default)]
    guard: GuardSection,
    #[serde(default)]
    exceptions: GuardExceptions,
}

fn resolve(text: &str) -> Result<Gateway, String> {
    let file: File = toml::from_str(text).map_err(|e| e.message().to_owned())?;
    judges(&file.privacy, &file.guard, &file.exceptions, Leaves::Nothing, Receipts::Open)
        .map(|judges| judges.gateway)
        .map_err(|e| e.to_string())
}

#[test]
fn nothing_is_judged_unless_it_says_so() {
    assert!(!resolve("").unwrap().judges("m"));
    assert!(
        !resolve("[privacy]\nentities = [\"EMAIL\"]\n[guard]\ninjection = \"off\"\n").unwrap().judges("m")
    );
    let flagged = resolve("[guard]\ninjection = \"flag\"\n").unwrap();
    assert!(flagged.judges("m") && !flagged.hides("m"));
    let redacted = "[guard]\noutput = \"redact\"\noperators = { default = \"mask\", EMAIL = \"drop\", X = \"block\" }\n\
                    [[privacy.custom]]\nname = \"X\"\nwords = [\"heron\"]\n";
    assert!(resolve(redacted).unwrap().hides("m"));
    let ruled = "[[guard.rule]]\nname = \"a\"\nregex = \"b\"\n[[guard.topic]]\nname = \"t\"\nwords = [\"c\", \"d\"]\n";
    assert!(resolve(ruled).unwrap().hides("m"));
}

/// A model of names that finds one, or fails.
struct Names(fn(&str) -> Result<Vec<Named>, DetectorError>);

impl Finder for Names {
    fn id(&self) -> &str {
        "names-model/fake"
    }

    fn find(&self, text: &str) -> Result<Vec<Named>, DetectorError> {
        (self.0)(text)
    }
}

#[test]
fn what_leaves_is_judged_by_the_model_of_names_and_stays_without_it() {
    let finds: Arc<dyn Finder> = Arc::new(Names(|text| {
        let named = |at| Named { entity: "PERSON".into(), range: at..at + "Zoë".len(), confidence: 90 };
        Ok(text.find("Zoë").map(named).into_iter().collect())
    }));
    let fails: Arc<dyn Finder> = Arc::new(Names(|_| Err(DetectorError("no".into()))));
    let panics: Arc<dyn Finder> = Arc::new(Names(|_| panic!("a finder that panics, as it should here")));
    let configured = "[privacy]\nmodel = \"m\"\n";
    for (text, names, body, stays) in [
        ("", None, "{\"model\":\"m-1\",\"note\":\"Zoë\"}", None),
        (configured, None, "{\"note\":\"Hello\"}", Some("the detector names-model is missing")),
        (configured, Some(&finds), "{\"note\":\"Hello\"}", None),
        (configured, Some(&finds), "{\"note\":\"Zo\\u00eb\"}", Some("it holds PERSON")),
        (configured, Some(&finds), "{\"model\":\"Zoë-1\",\"messages\":[]}", None),
        (configured, Some(&fails), "{\"note\":\"Hello\"}", Some("the detector names-model/fake failed")),
        (configured, Some(&panics), "{\"note\":\"Hello\"}", Some("the detector names-model/fake failed")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts.jsonl");
        let log = LogConfig { durability: Durability::Kill, ..LogConfig::new(path) };
        let audit = Audit::new(ReceiptLog::open(log, SigningKey::from_seed([3; 32])).unwrap()).unwrap();
        let file: File = toml::from_str(text).unwrap();
        let models = ["Zoë-1"].into_iter();
        let clearance = clearance(&file.privacy, &file.guard, audit, names.cloned(), models).unwrap();
        assert_eq!(clearance.is_quick(1), names.is_none(), "a model may take any time");
        let judged = clearance.judge(Tainted::new(body.to_owned(), Taint::Clean), "up/m-1");
        assert_eq!(judged.err().map(|why| why.to_string()).as_deref(), stays, "{text}{body}");
    }
}

#[test]
fn a_model_or_route_can_be_judged_otherwise() {
    let text = "[guard]\ninjection = \"block\"\noutput = \"redact\"\noperators = { default = \"mask\" }\n\
                [exceptions.free]\ninjection = \"off\"\noutput = \"off\"\n\
                [exceptions.strict]\nsystem_prompt = \"block\"\n";
    let gateway = resolve(text).unwrap();
    for (model, judges) in [("any", true), ("strict", true), ("free", false)] {
        assert_eq!((gateway.judges(model), gateway.hides(model)), (judges, judges), "{model}");
    }
    let only = resolve("[exceptions.strict]\ninjection = \"flag\"\n").unwrap();
    assert!(only.judges("strict") && !only.judges("any"));
}

#[test]
fn mistakes_are_named() {
    for (text, wanted) in [
        ("[guard]\ninjections = \"flag\"\n", "injections"),
        ("[guard]\ninjection = \"warn\"\n", "warn"),
        ("[guard]\noutput = \"pseudonyms\"\n", "pseudonyms"),
        ("[guard]\noutput = \"redact\"\noperators = { E-MAIL = \"mask\" }\n", "E-MAIL"),
        ("[guard]\noutput = \"redact\"\noperators = { EMAIL = \"hash\" }\n", "hash_key"),
        ("[guard]\noutput = \"redact\"\nhash_key = \"/no/key\"\n", "/no/key"),
        ("[guard]\noperators = { EMAIL = \"mask\" }\n", "output = \"redact\""),
        (
            "[guard]\ninput = \"pseudonyms\"\noutput = \"redact\"\noperators = { default = \"pseudonym\" }\n",
            "lead back",
        ),
        ("[guard]\ncanary = true\n", "system_prompt"),
        ("[exceptions.a]\ninjection = \"warn\"\n", "warn"),
        ("[exceptions.a]\ncanary = true\n", "canary"),
        (
            "[guard]\noutput = \"redact\"\noperators = { default = \"pseudonym\" }\n\
             [exceptions.a]\ninput = \"pseudonyms\"\n",
            "guard of \"a\": [guard]: the operator",
        ),
        ("[[guard.rule]]\nname = \"a\"\nregex = \"(\"\n", "rule \"a\""),
        ("[[guard.topic]]\nname = \"a\"\nwords = [\"b\"]\n", "topic \"a\""),
        ("[privacy]\nreceipts = \"r\"\n", "nothing judged"),
        ("[privacy]\nreceipts = \"r\"\n[guard]\ninjection = \"flag\"\n", "receipts_key"),
        ("[privacy]\nreceipts_key = \"k\"\n", "need receipts"),
        ("[privacy]\nmodel = \"m\"\n[guard]\ninjection = \"flag\"\n", "[privacy] model needs"),
        ("[privacy]\nmodel = \"/no/model\"\n[guard]\ninput = \"flag\"\n", "/no/model"),
        ("[privacy]\nmodel = \"hf:a\"\n[guard]\ninput = \"flag\"\n", "hf:OWNER/REPO"),
        ("[guard]\nclassifier = \"m\"\ninput = \"flag\"\n", "[guard] classifier needs"),
        ("[guard]\nanswer_classifier = \"m\"\nrules = \"off\"\n", "[guard] answer_classifier needs"),
        ("[guard]\nanswer_classifier = \"/no/model\"\n", "/no/model"),
        ("[guard]\nclassifier = \"/no/model\"\ninjection = \"block\"\n", "/no/model"),
    ] {
        let said = resolve(text).unwrap_err();
        assert!(said.contains(wanted), "{text:?}: {said}");
    }
}
