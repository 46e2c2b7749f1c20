//! Pseudonyms in requests: what gets one, and what goes no further because it cannot.

use super::*;

fn document(value: &serde_json::Value) -> Text {
    Text { writing: Writing::Json, ..text(Origin::User, &value.to_string()) }
}

/// A gateway that gives pseudonyms, to cases by their colours and to what `finder` names.
fn naming(finder: Option<Arc<dyn Finder>>) -> Gateway {
    gateway(|settings| {
        settings.requests.private = InRequests::Pseudonyms;
        settings.request_finders = finder.into_iter().collect();
        settings.budget = Budget { start: Duration::from_secs(20), per_kilobyte: Duration::ZERO };
        let pattern = garrison_guard::Pattern::Regex("case \"[a-z]+\"".into());
        settings.scan.customs.push(garrison_guard::Custom { name: "CASE".into(), pattern, context: vec![] });
    })
}

fn named(gateway: &Gateway, texts: Vec<Text>) -> Vec<String> {
    let judged = judged(gateway, texts);
    assert_eq!(judged.report.action, Action::Redacted);
    judged.texts.local().clone().unwrap()
}

#[test]
fn in_a_document_each_string_gets_its_names_also_where_it_is_escaped() {
    let said = "Send case \"blue\"\tto zoe@buecher.example";
    let value = serde_json::json!({"q": said, "case \"red\"": [{"mail": MAIL}], "zoe%40buecher.example": 1});
    let texts = named(&naming(None), vec![text(Origin::User, said), document(&value)]);
    assert_eq!(texts[0], "Send <CASE_1>\tto <EMAIL_1>");
    let hidden: serde_json::Value = serde_json::from_str(&texts[1]).unwrap();
    assert_eq!(
        (&hidden["q"], &hidden["<CASE_2>"][0]["mail"]),
        (&texts[0].as_str().into(), &"<EMAIL_1>".into())
    );
    assert!(!texts[1].contains("buecher"), "{}", texts[1]);
}

#[test]
fn what_has_no_room_for_a_name_is_blocked_and_its_receipt_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let log = LogConfig::new(folder.path().join("receipts.jsonl"));
    let audit = Audit::new(ReceiptLog::open(log, SigningKey::from_seed([3; 32])).unwrap()).unwrap();
    let gateway = gateway(|settings| {
        settings.requests.private = InRequests::Pseudonyms;
        settings.audit = Some(audit);
    });
    let texts = vec![
        text(Origin::User, MAIL),
        document(&serde_json::json!({"card number": 4_111_111_111_111_111_u64})),
    ];
    let Err(Refusal::Blocked { place, found, receipt }) = gateway.judge(request(texts)) else {
        panic!("it passed")
    };
    assert_eq!((place.as_str(), found, receipt), ("User", vec!["CREDIT_CARD".to_owned()], Some(0)));
    drop(gateway);
    let line = std::fs::read_to_string(folder.path().join("receipts.jsonl")).unwrap();
    assert!(line.contains("block") && !line.contains("redact"), "{line}");
}

/// Finds a name that no rule knows, where it stands in a sentence or beside what a document has around it.
struct FindsHere(fn(&str) -> Option<std::ops::Range<usize>>);

impl Finder for FindsHere {
    fn id(&self) -> &str {
        "finds-here/1"
    }

    fn find(&self, text: &str) -> Result<Vec<Named>, DetectorError> {
        let named = |range| Named { entity: "PERSON".into(), range, confidence: 80 };
        Ok((self.0)(text).map(named).into_iter().collect())
    }
}

fn of(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    text.find(name).map(|at| at..at + name.len())
}

#[test]
fn a_name_that_is_found_in_a_sentence_is_none_in_its_document_either() {
    let said = "Qwell\nknows Qwellington and Qwell.";
    let value = serde_json::json!({"q": said, "Qwell": 1});
    let in_sentences = |text: &str| if text.starts_with('{') { None } else { of(text, "Qwell") };
    let gateway = naming(Some(Arc::new(FindsHere(in_sentences))));
    let texts = named(&gateway, vec![text(Origin::User, said), document(&value)]);
    let hidden: serde_json::Value = serde_json::from_str(&texts[1]).unwrap();
    assert_eq!(
        hidden,
        serde_json::json!({"q": "<PERSON_1>\nknows Qwellington and <PERSON_1>.", "<PERSON_1>": 1})
    );
    // A place that is no string's has no room for a name.
    let across = |text: &str| of(text, "Qwell\",\"city");
    let gateway = naming(Some(Arc::new(FindsHere(across))));
    let asked = request(vec![document(&serde_json::json!({"who": "Qwell", "city": "Ulm"}))]);
    assert!(matches!(gateway.judge(asked), Err(Refusal::Blocked { found, .. }) if found == ["PERSON"]));
}

proptest! {
    #[test]
    fn a_document_with_names_is_one_and_leads_back(
        before in "[a-z \"\\\\\n\t<>]{0,20}", after in "[a-z \"\\\\\n\t<>]{0,20}"
    ) {
        let value = serde_json::json!({"q": format!("{before} {MAIL} {after}")});
        let gateway = gateway(|settings| settings.requests.private = InRequests::Pseudonyms);
        let judged = judged(&gateway, vec![document(&value)]);
        let hidden = judged.texts.local().as_ref().unwrap()[0].clone();
        let mut answers = judged.answers;
        prop_assert!(!hidden.contains(MAIL));
        let said: serde_json::Value = serde_json::from_str(&hidden).unwrap();
        let back = say(&mut answers, &[said["q"].as_str().unwrap()]).0;
        prop_assert_eq!(back, value["q"].as_str().unwrap());
    }
}
