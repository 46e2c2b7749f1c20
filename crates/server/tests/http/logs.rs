//! One log line per request, without content and without keys.

use std::fmt::{Debug, Write};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use garrison_server::{ApiKeys, ServerConfig};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::client::{send, wait_until};
use crate::world::{World, engine_config};

/// Everything this test process logs, at every level.
static LINES: OnceLock<Mutex<Vec<String>>> = OnceLock::new();

struct Collector;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        LINES.get_or_init(Mutex::default).lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_request_is_one_line_without_content_or_keys() {
    tracing::subscriber::set_global_default(Collector).unwrap();
    let api_keys = ApiKeys::parse("sk-very-secret").unwrap();
    let world = World::with(ServerConfig { api_keys, ..ServerConfig::default() }, engine_config());
    let ask = |id: &str, key: &str, body: String| {
        let bearer = format!("Bearer {key}");
        send(
            &world,
            "POST",
            "/v1/chat/completions",
            &[("x-request-id", id), ("Authorization", &bearer)],
            &body,
        )
    };
    let private = "my diagnosis is private";
    let message = json!([{"role": "user", "content": private}]);
    ask("log-good", "sk-very-secret", json!({"messages": message, "temperature": 0}).to_string()).ok();
    ask("log-bad", "sk-very-secret", json!({"messages": message, "stop": private, "n": 0}).to_string())
        .error(400);
    ask("log-broken", "sk-very-secret", format!("{{\"messages\": {private}")).error(400);
    ask("log-key", "sk-wrong-key", json!({"messages": message}).to_string()).error(401);

    let lines_of = |id: &str| -> Vec<String> {
        let lines = LINES.get_or_init(Mutex::default).lock().unwrap();
        lines.iter().filter(|line| line.contains(&format!("id={id} "))).cloned().collect()
    };
    for (id, status) in [("log-good", 200), ("log-bad", 400), ("log-broken", 400), ("log-key", 401)] {
        wait_until(Duration::from_secs(20), || !lines_of(id).is_empty()).expect("no line");
        let lines = lines_of(id);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&format!("status={status}")), "{}", lines[0]);
        assert!(lines[0].contains("route=\"/v1/chat/completions\""), "{}", lines[0]);
    }
    let good = &lines_of("log-good")[0];
    assert!(good.contains("completion_tokens=17") && good.contains("model=\"tiny\""), "{good}");
    let all = LINES.get_or_init(Mutex::default).lock().unwrap().join("\n");
    for secret in ["diagnosis", "sk-very-secret", "sk-wrong-key", "wörld"] {
        assert!(!all.contains(secret), "{secret} is in the log");
    }
}
