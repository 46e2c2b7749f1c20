//! `garrison bench serve`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use garrison_bench::dataset::{Dataset, Families, FileDataset, Material, Models, Synthetic, TalkFile};
use garrison_bench::load::{
    CoolDown, Endpoint, Extent, Info, InfoError, Limits, Load, MAX_REQUESTS, Plan, Target, Tokens, Workload,
};
use garrison_bench::report::Live;
use garrison_bench::{Goals, Journal, Loads, Session};
use garrison_tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use super::flags::ServeFlags;
use crate::error::Fault;
use crate::source::ModelRef;

/// How much of a rate warms up, in seconds.
const WARM_UP_S: f64 = 2.0;

/// How long each rate of a search is held, at least, unless told otherwise: in less, a server that cannot keep up is
/// not yet behind.
const PROBE_S: f64 = 10.0;

/// Requests that are measured unless told otherwise.
const REQUESTS: usize = 100;

/// Rounds that two servers are compared in.
const ROUNDS: usize = 5;

/// Where prompts come from, with the fields that go into each request.
enum Questions {
    Synthetic(Material, Map<String, Value>),
    File(TalkFile, Map<String, Value>),
}

/// Runs it.
///
/// # Errors
/// If a flag is wrong, the server cannot be asked, or nothing was answered.
pub(super) fn run(flags: &ServeFlags) -> Result<(), Fault> {
    let (extent, loads) = (extent(flags)?, loads(flags)?);
    let goals = goals(flags.goals.as_deref().unwrap_or_default())?;
    let endpoint = flags.endpoint.unwrap_or(match (flags.dataset.as_str(), flags.turns.get()) {
        ("synthetic", 1) => Endpoint::Completions,
        _ => Endpoint::Chat,
    });
    let tokens = match &flags.tokenizer {
        Some(name) => Tokens::Known(tokenizer(name)?),
        None => Tokens::Unknown,
    };
    let servers = [Some(&flags.url), flags.vs.as_ref()].into_iter().flatten();
    let servers: Vec<Workload> =
        servers.map(|url| workload(flags, url, endpoint, &tokens)).collect::<Result<_, _>>()?;
    let questions = questions(flags, &servers[0])?;
    try_all(flags, &servers, &questions)?;
    let session = Session {
        usd_per_hour: flags.price_per_hour,
        loads,
        rounds: flags.rounds.map_or(if servers.len() > 1 { ROUNDS } else { 1 }, |n| n.get()),
        servers,
        goals,
        plan: &|load, seed| plan(flags, extent, load, seed),
        seed: flags.seed,
        dataset: &|seed| dataset(flags, &questions, seed),
    };
    let mut journal = match &flags.json {
        Some(path) => Journal::beside(path).map_err(|e| Fault::usage(e.to_string()))?,
        None => Journal::none(),
    };
    let document = session.run(&mut journal, &mut Live::on_stderr());
    let document = document.map_err(|e| Fault::failed(e.to_string()))?;
    if let Some(path) = &flags.json {
        document.write(path).map_err(|e| Fault::failed(e.to_string()))?;
    }
    journal.finish();
    super::publish(&document, &flags.outputs)
}

fn tokenizer(name: &str) -> Result<Arc<Tokenizer>, Fault> {
    let refuse = |e: &dyn std::fmt::Display| Fault::usage(format!("tokenizer {name}: {e}"));
    let vocabulary = ModelRef::parse(name)?.open()?.vocabulary().map_err(|e| refuse(&e))?;
    Ok(Arc::new(Tokenizer::new(&vocabulary).map_err(|e| refuse(&e))?))
}

fn workload(flags: &ServeFlags, url: &str, endpoint: Endpoint, tokens: &Tokens) -> Result<Workload, Fault> {
    let key = ["GARRISON_API_KEY", "OPENAI_API_KEY"].iter().find_map(|name| std::env::var(name).ok());
    let mut target = Target::new(url, &key.unwrap_or_default()).map_err(|e| Fault::usage(e.to_string()))?;
    if let Some(file) = &flags.ca_file {
        target = target.trusting(file).map_err(|e| Fault::usage(format!("--ca-file {e}")))?;
    }
    let models = match &flags.model {
        Some(names) => Models::parse(names).map_err(|e| Fault::usage(format!("--model: {e}")))?,
        None => {
            let first = Info::new(&target).and_then(|info| info.first_model());
            Models::one(first.map_err(|e| unasked(&e))?)
        }
    };
    let mut fields = Map::new();
    for field in &flags.field {
        let parsed = field.split_once('=').map(|(key, value)| (key, serde_json::from_str::<Value>(value)));
        match parsed {
            Some((key, Ok(value))) => fields.insert(key.to_owned(), value),
            _ => return Err(Fault::usage(format!("--field \"{field}\" is not KEY=JSON"))),
        };
    }
    Ok(Workload { target, endpoint, models, fields, tokenizer: tokens.clone() })
}

/// Sends each server one short request for each model before anything is measured.
fn try_all(flags: &ServeFlags, servers: &[Workload], questions: &Questions) -> Result<(), Fault> {
    let patience = Duration::from_secs_f64(flags.timeout_first.unwrap_or(flags.timeout));
    let (Questions::Synthetic(_, of_all) | Questions::File(_, of_all)) = questions;
    for server in servers {
        let info = Info::new(&server.target).map_err(|e| unasked(&e))?;
        let mut fields = server.fields.clone();
        fields.extend(of_all.clone());
        for model in server.models.names() {
            info.try_one(server.endpoint, model, &fields, patience).map_err(|e| unasked(&e))?;
        }
    }
    Ok(())
}

/// Why a server cannot be measured, and what may help.
fn unasked(e: &InfoError) -> Fault {
    let hint = match e {
        InfoError::Untrusted { .. } => "; --ca-file FILE trusts another authority",
        InfoError::Refused { status: 401 | 403, .. } => {
            "; the key is taken from GARRISON_API_KEY, or else from OPENAI_API_KEY"
        }
        InfoError::Refused { status: 404, path, .. } if path == "/v1/models" => {
            "; --url is what comes before /v1, and --model names a model where a server lists none"
        }
        _ => "",
    };
    Fault::failed(format!("{e}{hint}"))
}

fn questions(flags: &ServeFlags, server: &Workload) -> Result<Questions, Fault> {
    let fields = schema(flags)?;
    if flags.dataset != "synthetic" {
        let file = TalkFile::open(Path::new(&flags.dataset)).map_err(|e| Fault::usage(e.to_string()))?;
        if file.has_tokens() && server.endpoint == Endpoint::Chat {
            let name = &flags.dataset;
            return Err(Fault::usage(format!(
                "{name} has prompts of token ids, which only --endpoint completions takes"
            )));
        }
        return Ok(Questions::File(file, fields));
    }
    // Answers go between turns as text, so prompts have to be text, too.
    let ids_can_be_sent = server.endpoint == Endpoint::Completions && flags.turns.get() == 1;
    let material = match (ids_can_be_sent, &server.tokenizer) {
        (true, Tokens::Known(tokenizer)) => Material::ids(tokenizer),
        (false, Tokens::Known(tokenizer)) => Material::CountedWords(Arc::clone(tokenizer)),
        (false, Tokens::Unknown) => Material::Words,
        (true, Tokens::Unknown) => {
            // Not every server has /tokenize; without it, words do.
            let model = server.models.names().next().unwrap_or_default();
            let ids = Info::new(&server.target).and_then(|info| info.text_ids(model, &Material::all_words()));
            ids.map_or(Material::Words, |ids| Material::Ids(ids.into()))
        }
    };
    Ok(Questions::Synthetic(material, fields))
}

/// The fields that ask for answers after a schema.
fn schema(flags: &ServeFlags) -> Result<Map<String, Value>, Fault> {
    let Some(path) = &flags.schema else { return Ok(Map::new()) };
    let refuse = |e: String| Fault::usage(format!("{}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    let schema: Value = serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
    let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
    Ok(Map::from_iter([("response_format".to_owned(), format)]))
}

fn dataset(flags: &ServeFlags, questions: &Questions, seed: u64) -> Box<dyn Dataset> {
    match questions {
        Questions::File(file, fields) => {
            Box::new(FileDataset::new(file, flags.gen_tokens, fields.clone(), seed))
        }
        Questions::Synthetic(material, fields) => {
            let families = Families { count: flags.families, prefix_tokens: flags.prefix_tokens.get() };
            let made = Synthetic::new(material.clone(), flags.prompt_tokens, flags.gen_tokens, seed)
                .turns(flags.turns.get())
                .families(families);
            Box::new(if fields.is_empty() { made } else { made.constrained(fields.clone()) })
        }
    }
}

fn loads(flags: &ServeFlags) -> Result<Loads, Fault> {
    if let Some(bad) = flags.rate.iter().find(|rate| !(1e-3..=1e5).contains(*rate)) {
        return Err(Fault::usage(format!("--rate {bad} is not between 0.001 and 100000")));
    }
    let open = |rate: &f64| Load::Open { rate: *rate, arrivals: flags.arrivals };
    Ok(match (&flags.rate[..], flags.search) {
        ([rate], true) => {
            let at_least = Duration::from_secs_f64(flags.seconds.unwrap_or(PROBE_S));
            Loads::Search { rate: *rate, arrivals: flags.arrivals, at_least }
        }
        (_, true) => return Err(Fault::usage("--search begins with one --rate")),
        ([], false) if flags.concurrency.is_empty() => Loads::Steps(vec![Load::Closed { concurrency: 1 }]),
        ([], false) => {
            Loads::Steps(flags.concurrency.iter().map(|c| Load::Closed { concurrency: c.get() }).collect())
        }
        (rates, false) => Loads::Steps(rates.iter().map(open).collect()),
    })
}

fn extent(flags: &ServeFlags) -> Result<Extent, Fault> {
    let seconds = |name: &str, s: f64| {
        let fits = (0.001..=86_400.0).contains(&s);
        fits.then_some(()).ok_or_else(|| Fault::usage(format!("--{name} {s} is not between 0.001 and 86400")))
    };
    if let Some(n) = flags.warm_up.filter(|n| *n > MAX_REQUESTS) {
        return Err(Fault::usage(format!("--warm-up {n} is more than {MAX_REQUESTS}")));
    }
    seconds("timeout", flags.timeout)?;
    seconds("timeout-first", flags.timeout_first.unwrap_or(flags.timeout))?;
    match flags.seconds {
        Some(s) => seconds("seconds", s).map(|()| Extent::Time(Duration::from_secs_f64(s))),
        None => {
            let n = flags.requests.map_or(REQUESTS, |n| n.get());
            if n > MAX_REQUESTS {
                return Err(Fault::usage(format!("--requests {n} is more than {MAX_REQUESTS}")));
            }
            Ok(Extent::Requests(n))
        }
    }
}

fn plan(flags: &ServeFlags, extent: Extent, load: Load, seed: u64) -> Plan {
    let warm_up = flags.warm_up.unwrap_or(match load {
        Load::Closed { concurrency } => concurrency,
        Load::Open { rate, .. } => (rate * WARM_UP_S).ceil() as usize,
    });
    let answer = Duration::from_secs_f64(flags.timeout);
    let first_token = flags.timeout_first.map_or(answer, Duration::from_secs_f64);
    let in_flight = flags.max_in_flight.get();
    let cool_down = if flags.cool_down == "hold" { CoolDown::Hold } else { CoolDown::None };
    Plan { load, extent, warm_up, cool_down, limits: Limits { first_token, answer, in_flight }, seed }
}

/// Parses `ttft=500,itl=50,e2e=10000`.
fn goals(text: &str) -> Result<Goals, Fault> {
    let mut goals = Goals::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let refuse =
            || Fault::usage(format!("--goals: \"{part}\" is not ttft=MS, itl=MS or e2e=MS with MS above 0"));
        let (name, value) = part.split_once('=').ok_or_else(refuse)?;
        let value: f64 = value.parse().map_err(|_| refuse())?;
        if value.is_nan() || value <= 0.0 {
            return Err(refuse());
        }
        match name {
            "ttft" => goals.ttft_ms = Some(value),
            "itl" => goals.itl_ms = Some(value),
            "e2e" => goals.e2e_ms = Some(value),
            _ => return Err(refuse()),
        }
    }
    Ok(goals)
}
