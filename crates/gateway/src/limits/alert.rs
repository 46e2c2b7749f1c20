//! Telling the owner: a line in the log, and a POST to a webhook. Names and numbers, never content.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::post::{PostError, Poster, Whom};

/// Alerts that wait to be sent, at most; more are in the log only.
const MOST_WAITING: usize = 64;
const WEBHOOK: Whom = Whom { setting: "webhook", name: "the webhook", time: Duration::from_secs(10) };
/// How long is waited before each further try.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// What is unlike before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// Tokens of a request, on average of today against the last seven days.
    TokensPerRequest,
    /// US dollars of a request, the same.
    SpendPerRequest,
    /// US dollars of today, against the average day of the last seven.
    SpendPerDay,
    /// Requests of the last ten minutes that were sent before within them.
    RepeatedTraffic,
}

impl AlertKind {
    /// As logs and webhooks have it.
    pub fn name(self) -> &'static str {
        match self {
            AlertKind::TokensPerRequest => "tokens_per_request",
            AlertKind::SpendPerRequest => "spend_per_request",
            AlertKind::SpendPerDay => "spend_per_day",
            AlertKind::RepeatedTraffic => "repeated_traffic",
        }
    }
}

/// Something that the owner should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What.
    pub kind: AlertKind,
    /// Of which key.
    pub key: String,
    /// What it is now.
    pub now: f64,
    /// What it is usually.
    pub usual: f64,
}

impl Alert {
    /// What leaves: the books call a key without a name by a part of its digest, by which a weak one can be guessed.
    fn to_json(&self) -> Value {
        let is_digest = self.key.len() == 24 && self.key.bytes().all(|b| b.is_ascii_hexdigit());
        let key = if is_digest { "without a name" } else { &*self.key };
        let text = format!("{} of key {key} is {:.6}, usually {:.6}", self.kind.name(), self.now, self.usual);
        // `text` is what chat services show.
        json!({"alert": self.kind.name(), "key": key, "now": self.now, "usual": self.usual, "text": text})
    }
}

/// Where alerts go.
#[derive(Debug, Default)]
pub struct AlertSink {
    webhook: Option<SyncSender<Alert>>,
}

impl AlertSink {
    /// The log alone.
    pub fn log() -> AlertSink {
        AlertSink::default()
    }

    /// The log and a webhook.
    ///
    /// # Errors
    /// If its URL is none, or there is no thread to send from.
    pub fn webhook(url: &str) -> Result<AlertSink, PostError> {
        let (webhook, alerts) = sync_channel(MOST_WAITING);
        WEBHOOK.on_a_thread(url, "alerts", move |mut poster| deliver(&mut poster, &alerts))?;
        Ok(AlertSink { webhook: Some(webhook) })
    }

    pub(crate) fn tell(&self, alert: Alert) {
        tracing::warn!(
            target: "garrison::alert",
            alert = alert.kind.name(),
            key = alert.key,
            now = alert.now,
            usual = alert.usual,
            "this is not as usual"
        );
        if let Some(webhook) = &self.webhook
            && let Err(TrySendError::Full(_)) = webhook.try_send(alert)
        {
            tracing::warn!("too many alerts wait for the webhook; this one is in the log only");
        }
    }
}

fn deliver(webhook: &mut Poster, alerts: &Receiver<Alert>) {
    while let Ok(alert) = alerts.recv() {
        let mut pauses = PAUSES.into_iter();
        while !webhook.post("", &alert.to_json()) {
            let Some(pause) = pauses.next() else {
                tracing::warn!("an alert could not be sent to the webhook; it is in the log");
                break;
            };
            std::thread::sleep(pause);
        }
    }
}
