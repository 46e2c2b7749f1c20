//! LoRA adapters that come and go while the server runs.

use garrison_server::{ApiKeys, ServerConfig};
use serde_json::{Value, json};

use crate::client::*;
use crate::world::{DOWNLOAD, World};

const LOAD: &str = "/v1/load_lora_adapter";
const UNLOAD: &str = "/v1/unload_lora_adapter";

fn world() -> World {
    World::adapted(ServerConfig::default())
}

fn load(world: &World, name: &str, path: &str) -> Answer {
    post(world, LOAD, &json!({"lora_name": name, "lora_path": path}))
}

fn question(model: &str) -> Value {
    let prompt: Vec<u32> = (3..60).collect();
    json!({"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 24, "ignore_eos": true,
        "return_token_ids": true})
}

fn ask(world: &World, model: &str) -> Value {
    let answer = post(world, "/v1/completions", &question(model)).ok();
    assert_eq!(answer["model"], model, "the answer names who was asked");
    answer["choices"][0]["token_ids"].clone()
}

#[test]
fn an_adapter_is_a_model_from_loading_to_unloading() {
    let world = world();
    let base = ask(&world, "tiny");
    let loaded = load(&world, "one", "a");
    assert_eq!(
        (loaded.status, loaded.text().as_str()),
        (200, "Success: LoRA adapter 'one' added successfully.")
    );
    load(&world, "two", "b");
    let [one, two] = ["one", "two"].map(|name| ask(&world, name));
    assert!(one != two && one != base && two != base);
    assert_eq!(ask(&world, "tiny"), base);

    let list = get(&world, "/v1/models").ok();
    let told: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| (&m["id"], &m["parent"])).collect();
    let (tiny, null) = (json!("tiny"), Value::Null);
    assert_eq!(told, [(&tiny, &null), (&json!("one"), &tiny), (&json!("two"), &tiny)]);
    assert_eq!(get(&world, "/v1/models/two").ok(), list["data"][2]);

    assert_eq!(post(&world, UNLOAD, &json!({"lora_name": "one"})).status, 200);
    let error = post(&world, "/v1/completions", &question("one")).error(404);
    assert!(error["message"].as_str().unwrap().ends_with("this server has: tiny, two"), "{error}");
    assert_eq!(ask(&world, "two"), two);
    assert_eq!(world.metric("garrison:lora_swaps_total"), 2.0);
}

/// vLLM #42125 and #47724, as a client sees them.
#[test]
fn a_name_that_is_given_anew_answers_anew_and_nobody_else_does() {
    let world = world();
    load(&world, "x", "a");
    load(&world, "y", "b");
    let [a, b] = ["x", "y"].map(|name| ask(&world, name));
    let error = load(&world, "x", "b").error(400);
    assert!(error["message"].as_str().unwrap().contains("load_inplace"), "{error}");
    assert_eq!(ask(&world, "x"), a, "a refused load changes nothing");
    let again = json!({"lora_name": "x", "lora_path": "b", "load_inplace": true});
    assert_eq!(post(&world, LOAD, &again).status, 200);
    assert_eq!((ask(&world, "x"), ask(&world, "y")), (b.clone(), b));
}

#[test]
fn what_runs_ends_with_the_adapter_it_began_with() {
    let world = world();
    load(&world, "x", "a");
    let before = ask(&world, "x");
    world.control.hold();
    let mut running = Connection::open(&world);
    running.post("/v1/completions", &[], &question("x").to_string());
    world.wait_for_metric("garrison:sequences_in_flight", 1.0);
    assert_eq!(post(&world, UNLOAD, &json!({"lora_name": "x"})).status, 200);
    load(&world, "x", "b");
    world.control.release();
    assert_eq!(running.answer().ok()["choices"][0]["token_ids"], before);
    assert_ne!(ask(&world, "x"), before);
}

#[test]
fn what_cannot_be_loaded_is_named_and_changes_nothing() {
    let world = world();
    for (body, status, param, said) in [
        (
            json!({"lora_name": "x", "lora_path": "nowhere"}),
            400,
            "lora_path",
            "x cannot be loaded: it is not there",
        ),
        (json!({"lora_name": "tiny", "lora_path": "a"}), 400, "lora_name", "name of a model"),
        (json!({"lora_name": "", "lora_path": "a"}), 400, "lora_name", "not empty"),
        (json!({"lora_name": "a\nb", "lora_path": "a"}), 400, "lora_name", "not empty"),
        (json!({"lora_path": "a"}), 400, "lora_name", "not empty"),
        (json!({"lora_name": "x"}), 400, "lora_path", "not empty"),
        (json!({"lora_name": "x", "lora_path": 1}), 400, "lora_path", "lora_path"),
        (json!({"lora_name": "x".repeat(200), "lora_path": "a"}), 400, "lora_name", "lora_name"),
        (json!({"lora_name": "x", "lora_path": "a", "model": "other"}), 404, "model", "other"),
    ] {
        let error = post(&world, LOAD, &body).error(status);
        assert!(
            error["param"] == param && error["message"].as_str().unwrap().contains(said),
            "{body}: {error}"
        );
    }
    assert_eq!(post(&world, UNLOAD, &json!({"lora_name": "x"})).error(404)["code"], "adapter_not_found");
    assert_eq!(get(&world, "/v1/models").ok()["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_download_that_stalls_keeps_no_other_adapter_waiting() {
    let world = world();
    let mut stalled = Connection::open(&world);
    stalled.post(LOAD, &[], &json!({"lora_name": "far", "lora_path": "stalled"}).to_string());
    DOWNLOAD.wait_for_begin();
    assert_eq!(load(&world, "near", "a").status, 200);
    // A name is given to whoever is there first.
    assert_eq!(load(&world, "far", "b").status, 200);
    DOWNLOAD.end();
    assert!(stalled.answer().error(400)["message"].as_str().unwrap().contains("far is loaded already"));
    assert_ne!(ask(&world, "near"), ask(&world, "far"));
}

#[test]
fn without_slots_nothing_is_loaded() {
    let world = World::new();
    let error = load(&world, "x", "a").error(400);
    assert!(error["message"].as_str().unwrap().contains("adapter_slots"), "{error}");
}

#[test]
fn only_an_owner_changes_what_is_served() {
    let api_keys = ApiKeys::parse("sk-one\nowner sk-boss").unwrap();
    let world = World::adapted(ServerConfig { api_keys, ..ServerConfig::default() });
    let with = |key: &str, path: &str, body: &Value| {
        send(&world, "POST", path, &[("Authorization", key)], &body.to_string())
    };
    let body = json!({"lora_name": "x", "lora_path": "a"});
    assert_eq!(send(&world, "POST", LOAD, &[], &body.to_string()).status, 401);
    assert_eq!(with("Bearer sk-one", LOAD, &body).error(403)["code"], "owner_key_required");
    assert_eq!(with("Bearer sk-boss", LOAD, &body).status, 200);
    assert_eq!(with("Bearer sk-one", "/v1/completions", &question("x")).status, 200, "all may use it");
    assert_eq!(with("Bearer sk-one", UNLOAD, &body).error(403)["type"], "permission_error");
    assert_eq!(with("Bearer sk-boss", UNLOAD, &body).status, 200);
}
