//! Telling the owner: a line in the log, and a POST to a webhook. Names and numbers, never content.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

/// Alerts that wait to be sent, at most; more are in the log only.
const MOST_WAITING: usize = 64;
/// How long a webhook may take.
const TIME: Duration = Duration::from_secs(10);
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
    fn to_json(&self) -> Value {
        let text =
            format!("{} of key {} is {:.6}, usually {:.6}", self.kind.name(), self.key, self.now, self.usual);
        // `text` is what chat services show.
        json!({"alert": self.kind.name(), "key": self.key, "now": self.now, "usual": self.usual, "text": text})
    }
}

/// A webhook that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// Its URL.
    #[error("webhook is no http or https URL")]
    Url,
    /// Nothing to send with.
    #[error("nothing can be sent to the webhook: {0}")]
    Client(String),
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
    pub fn webhook(url: &str) -> Result<AlertSink, AlertsError> {
        let url = reqwest::Url::parse(url).map_err(|_| AlertsError::Url)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(AlertsError::Url);
        }
        let broken = |error: &dyn std::fmt::Display| AlertsError::Client(error.to_string());
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIME)
            .build()
            .map_err(|e| broken(&e))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| broken(&e))?;
        let (webhook, alerts) = sync_channel(MOST_WAITING);
        let send = move || runtime.block_on(deliver(&client, &url, &alerts));
        std::thread::Builder::new().name("alerts".into()).spawn(send).map_err(|e| broken(&e))?;
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

async fn deliver(client: &reqwest::Client, url: &reqwest::Url, alerts: &Receiver<Alert>) {
    while let Ok(alert) = alerts.recv() {
        let mut pauses = PAUSES.into_iter();
        loop {
            let body = alert.to_json().to_string();
            let request = client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body);
            let sent = request.send().await;
            if sent.is_ok_and(|response| response.status().is_success()) {
                break;
            }
            let Some(pause) = pauses.next() else {
                tracing::warn!("an alert could not be sent to the webhook; it is in the log");
                break;
            };
            tokio::time::sleep(pause).await;
        }
    }
}
