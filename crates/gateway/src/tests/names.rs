//! Names that a finder knows, in answers.

use super::*;

const LETTER: &str = "Qwell wrote to zoe@buecher.example on Monday, and nobody knows what it was about, to be honest. Then \
    Qwell, who is not Anna Kowalska, went home. Nothing more was heard of it for a week or two, so that some forgot about \
    it; others did not.\nQwell";

#[test]
fn names_that_a_finder_knows_are_redacted_in_an_answer_however_it_is_cut() {
    let with = |operator| {
        gateway(|settings| {
            settings.answers.private = InAnswers::Redact(Operators::all(operator));
            settings.answer_finders = vec![Arc::new(FindsAll)];
            settings.budget = Budget { start: Duration::from_secs(20), per_kilobyte: Duration::ZERO };
        })
    };
    for (operator, begins) in [
        (Operator::Replace, "<PERSON> wrote to <EMAIL> on Monday"),
        (Operator::Pseudonym, "<PERSON_1> wrote to <EMAIL_1> on Monday"),
        (Operator::Mask, "***** wrote to"),
    ] {
        let gateway = with(operator);
        let shown = |pieces: &[&str]| {
            let mut answers = judged(&gateway, vec![text(Origin::User, "Hello")]).answers;
            let shown = say(&mut answers, pieces).0;
            (shown, answers.report())
        };
        let whole = shown(&[LETTER]);
        assert!(whole.0.starts_with(begins) && !whole.0.contains("Qwell"), "{}", whole.0);
        assert_eq!(
            whole.1,
            Report { action: Action::Redacted, found: vec!["EMAIL".into(), "PERSON".into()] }
        );
        if operator == Operator::Pseudonym {
            assert!(whole.0.contains("<PERSON_1>, who is not <PERSON_2>, went"), "{}", whole.0);
        }
        for cut in 0..=LETTER.len() {
            let (before, after) = LETTER.split_at(cut);
            assert_eq!(shown(&[before, after]), whole, "cut at {cut}");
        }
        let characters: Vec<&str> = LETTER.split("").collect();
        assert_eq!(shown(&characters), whole);
    }
}

/// Finds each of a name that no rule knows.
struct FindsAll;

impl Finder for FindsAll {
    fn id(&self) -> &str {
        "finds-all/1"
    }

    fn find(&self, text: &str) -> Result<Vec<Named>, DetectorError> {
        let named = |(at, name): (usize, &str)| Named {
            entity: "PERSON".into(),
            range: at..at + name.len(),
            confidence: 80,
        };
        Ok(text.match_indices("Qwell").map(named).collect())
    }
}

#[test]
fn a_name_ends_an_answer_where_nothing_may_be_changed_and_a_finder_that_fails_shows_nothing() {
    let with = |private, finds: Arc<dyn Finder>| {
        gateway(|settings| {
            settings.answers.private = private;
            settings.answer_finders = vec![finds];
            settings.budget = short();
        })
    };
    let replace = || InAnswers::Redact(Operators::all(Operator::Replace));
    let answers = |gateway: &Gateway| judged(gateway, vec![text(Origin::User, "Hello")]).answers;
    let mut blocked = answers(&with(InAnswers::Block, Arc::new(FindsAll)));
    assert_eq!(say(&mut blocked, &["I know Qwell."]), ("I know ".to_owned(), Flow::Ends));
    assert_eq!(blocked.report(), Report { action: Action::Blocked, found: vec!["PERSON".into()] });
    let mut flagged = answers(&with(InAnswers::Flag, Arc::new(FindsAll)));
    assert_eq!(say(&mut flagged, &["I know ", "Qwell."]), ("I know Qwell.".to_owned(), Flow::GoesOn));
    assert_eq!(flagged.report(), Report { action: Action::Flagged, found: vec!["PERSON".into()] });
    let fails = || -> Arc<dyn Finder> { Arc::new(Finds(|| Err(DetectorError("no model".into())))) };
    let mut strict = answers(&with(replace(), fails()));
    assert_eq!(strict.push(0, "I know Qwell.").unwrap().0, "");
    assert!(strict.finish(0).is_err());
    let mut lenient = answers(&with(InAnswers::Flag, fails()));
    assert_eq!(say(&mut lenient, &["I know ", "Qwell."]), ("I know Qwell.".to_owned(), Flow::GoesOn));
    assert_eq!(lenient.report().action, Action::NotJudged);
}
