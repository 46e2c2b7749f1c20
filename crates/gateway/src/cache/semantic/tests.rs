//! A lookup and what is learned from it, without a route.

use super::*;
use crate::providers::Heard;
use serde_json::json;

/// Texts as angles: `30 …` is thirty degrees.
#[derive(Debug)]
struct Angles;

impl Embedder for Angles {
    fn id(&self) -> &str {
        "angles"
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, NotEmbedded> {
        match text.split(' ').next().and_then(|word| word.parse::<f32>().ok()) {
            None => Err(NotEmbedded::Failed("it is no number".into())),
            Some(degrees) if degrees > 360.0 => Err(NotEmbedded::TooLong),
            Some(degrees) => {
                let (sin, cos) = degrees.to_radians().sin_cos();
                Ok(vec![cos, sin])
            }
        }
    }
}

fn cache(bytes: usize) -> Arc<SemanticCache> {
    let settings = SemanticSettings { threshold: 0.9, max_error: 0.05, answers: Compare::Equal, bytes };
    let beside = CacheSettings { ttl: Duration::from_secs(60), bytes };
    SemanticCache::new(settings, beside, Arc::new(Angles), None)
}

fn said(text: &str) -> Arc<Kept> {
    let mut kept = Kept::default();
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]});
    kept.push(&Heard::Chunk(crate::providers::chunk(&chunk)));
    Arc::new(kept)
}

fn question(class: u8, text: &str) -> Question {
    Question::plain([class; 32], text)
}

/// Looks, and learns from what the model says if it is asked.
fn ask(cache: &Arc<SemanticCache>, class: u8, text: &str, answer: &str) -> &'static str {
    let (consulted, told) = cache.look(&question(class, text), Vec::new());
    if let Consulted::Asked(lesson) = consulted {
        lesson.take(said(answer));
    }
    told.outcome
}

#[test]
fn an_answer_is_given_once_enough_were_right_and_never_to_another_class() {
    let cache = cache(1 << 20);
    assert_eq!(ask(&cache, 1, "10", "Paris"), "nobody_alike");
    let outcomes: Vec<_> = (0..400).map(|i| ask(&cache, 1, &format!("{}", 8 + i % 5), "paris.")).collect();
    assert_eq!(outcomes[0], "asked");
    let given = outcomes[300..].iter().filter(|outcome| **outcome == "given").count();
    assert!(given > 80, "{given} of 100");
    let counts = cache.counts();
    assert_eq!((counts.entries, counts.wrong), (1, 0));
    assert_eq!(counts.hits + counts.right, 400);
    assert_eq!(ask(&cache, 2, "10", "Paris"), "nobody_alike");
    assert_eq!(ask(&cache, 1, "80", "Rome"), "nobody_alike");
    assert_eq!(ask(&cache, 1, "500", "x"), "too_long");
    assert_eq!(ask(&cache, 1, "what", "x"), "failed");
    assert_eq!(cache.counts().entries, 3);
}

#[test]
fn an_answer_that_would_have_been_wrong_gets_one_beside_it() {
    let cache = cache(1 << 20);
    ask(&cache, 1, "0", "Approve it");
    // Very much alike, and the opposite.
    for _ in 0..200 {
        let outcome = ask(&cache, 1, "2", "Deny it");
        let (Consulted::Given(kept), _) = cache.look(&question(1, "2"), Vec::new()) else { continue };
        assert_eq!((outcome, *kept == *said("Approve it")), (outcome, false));
    }
    assert_eq!(cache.counts().entries, 2);
    assert!(cache.counts().wrong >= 1);
}

#[test]
fn settings_can_change_and_what_does_not_fit_goes() {
    let cache = cache(1 << 20);
    ask(&cache, 1, "0", "a");
    let old = cache.lock().settings;
    let beside = CacheSettings { ttl: Duration::ZERO, bytes: 1 };
    cache.change(SemanticSettings { threshold: 0.99, ..old }, beside);
    assert_eq!(ask(&cache, 1, "20", "b"), "nobody_alike", "it was alike before");
    assert_eq!(ask(&cache, 1, "20", "b"), "nobody_alike", "its time was over at once");
    cache.change(SemanticSettings { bytes: 10, ..old }, beside);
    assert_eq!((cache.counts().entries, cache.counts().bytes), (0, 0));
}

#[tokio::test]
async fn what_takes_too_long_is_asked() {
    #[derive(Debug)]
    struct Slow;
    impl Embedder for Slow {
        fn id(&self) -> &str {
            "slow"
        }
        fn embed(&self, _: &str) -> Result<Vec<f32>, NotEmbedded> {
            std::thread::sleep(Duration::from_millis(900));
            Ok(vec![1.0])
        }
    }
    let settings =
        SemanticSettings { threshold: 0.9, max_error: 0.05, answers: Compare::Equal, bytes: 1 << 20 };
    let beside = CacheSettings { ttl: Duration::from_secs(60), bytes: 1 << 20 };
    let cache = SemanticCache::new(settings, beside, Arc::new(Slow), None);
    let far = tokio::time::Instant::now() + Duration::from_secs(60);
    let (consulted, told) = cache.consult(question(1, "x"), far).await;
    assert!(matches!(consulted, Consulted::Not) && told.outcome == "late");
}

#[test]
fn likeness_is_the_product_whatever_the_length() {
    for length in [0, 1, 7, 8, 9, 384] {
        let a: Vec<f32> = (0..length).map(|i| i as f32 * 0.01).collect();
        let b: Vec<f32> = (0..length).map(|i| 1.0 - i as f32 * 0.002).collect();
        let wanted: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
        assert!((likeness(&a, &b) - wanted).abs() < 1e-3, "{length}");
    }
}
