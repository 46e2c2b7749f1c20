//! Providers that speak another API than Chat Completions: what they are asked, through wire's neutral form, so that what
//! a client has said in their own words reaches them.

use garrison_wire::{Delivery, Format, Request, WireError};
use serde_json::{Map, Value};

use super::continuing::Unfinished;
use super::{Failure, caching, openai, vocabulary};
use crate::journey::Words;

/// Tokens of an answer where neither the client nor a limit says how many, and the API demands a number.
const USUAL_OUTPUT: u64 = 8192;

/// Fields for models here that change no answer elsewhere: they stay, as they do in Chat's words.
const HERE: [&str; 3] = ["add_generation_prompt", "cache_salt", "priority"];

/// The body that asks `model` in `format` for what the client asks, with at most `output` tokens. As with chats, what
/// tells of whoever asks is left out.
///
/// # Errors
/// If the API has no word for something that is asked for.
pub(crate) fn body(
    format: Format,
    chat: &Map<String, Value>,
    words: &Words,
    unfinished: &Unfinished<'_>,
    model: &str,
    output: Option<u64>,
) -> Result<Vec<u8>, Failure> {
    let mut request = match words {
        Words::Chat => {
            let mut sent = openai::sent(chat);
            // Not OpenAI's, but some others'.
            sent.extend(chat.get("top_k").map(|most| ("top_k".to_owned(), most.clone())));
            Request::parse(Format::Chat, Value::Object(sent)).map_err(untold)?
        }
        Words::Neutral(request) => Request { user: None, metadata: Map::new(), ..Request::clone(request) },
    };
    HERE.iter().for_each(|field| drop(request.own.fields.shift_remove(*field)));
    let asked = output.or(request.max_tokens.map(u64::from));
    let demanded = (format == Format::Messages).then_some(USUAL_OUTPUT);
    request.max_tokens = asked.or(demanded).map(|most| u32::try_from(most).unwrap_or(u32::MAX));
    request.delivery = Delivery::StreamWithUsage;
    caching::shorten_request(&mut request);
    unfinished.add_to(&mut request);
    Ok(request.to_json(format, model).map_err(untold)?.to_string().into_bytes())
}

/// What there is no word for, told without a name that the client has made up: traces show it, and such a name is content.
fn untold(error: WireError) -> Failure {
    let param = error.param.unwrap_or_default();
    let is_known = |segment: &&str| {
        let (word, place) = segment.split_at(segment.find('[').unwrap_or(segment.len()));
        vocabulary::is_word(word) && place.bytes().all(|byte| byte.is_ascii_digit() || b"[]".contains(&byte))
    };
    let known: Vec<&str> = param.split('.').take_while(is_known).collect();
    let told = known.join(".");
    Failure::NoWord(match told.as_str() {
        _ if told == param => told,
        "" => "a field of the body".into(),
        told => format!("a field of {told}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::continuing::Continues;
    use super::*;
    use garrison_wire::{Message, Part, PartKind, Role, Seal};
    use serde_json::json;

    fn chat(extra: Value) -> Map<String, Value> {
        let mut chat = json!({"messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "user": "anna"});
        chat.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        chat.as_object().unwrap().clone()
    }

    fn asked(
        format: Format,
        chat: &Map<String, Value>,
        words: &Words,
        output: Option<u64>,
    ) -> Result<Value, Failure> {
        going_on(format, chat, words, output, Unfinished { said: "", continues: Continues::WhenTold })
    }

    fn going_on(
        format: Format,
        chat: &Map<String, Value>,
        words: &Words,
        output: Option<u64>,
        unfinished: Unfinished<'_>,
    ) -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&body(format, chat, words, &unfinished, "m", output)?).unwrap())
    }

    #[test]
    fn what_was_begun_is_the_last_turn_where_the_model_goes_on_with_it() {
        let begun = |continues, chat: &Map<String, Value>| {
            let unfinished = Unfinished { said: "Hel\n", continues };
            going_on(Format::Messages, chat, &Words::Chat, None, unfinished).unwrap()["messages"].clone()
        };
        let last = |messages: &Value| messages.as_array().unwrap().last().unwrap().clone();
        let prefix = last(&begun(Continues::FromPrefix, &chat(json!({}))));
        assert!(prefix["role"] == "assistant" && prefix.to_string().contains("\"Hel\""), "{prefix}");
        let told = begun(Continues::WhenTold, &chat(json!({})));
        assert!(last(&told).to_string().contains("cut off") && told.to_string().contains("Hel"), "{told}");
        // A model that thinks first takes no prefix.
        let thinking = begun(Continues::FromPrefix, &chat(json!({"reasoning_effort": "low"})));
        assert_eq!(last(&thinking)["role"], "user");
    }

    #[test]
    fn a_chat_is_asked_in_other_words_or_what_has_none_is_named() {
        let body = asked(Format::Messages, &chat(json!({})), &Words::Chat, Some(70)).unwrap();
        assert_eq!(
            (&body["model"], &body["max_tokens"], &body["stream"]),
            (&json!("m"), &json!(70), &json!(true))
        );
        assert!(body["system"].to_string().contains("Be brief.") && !body.to_string().contains("anna"));
        assert_eq!(
            asked(Format::Messages, &chat(json!({"top_k": 4})), &Words::Chat, None).unwrap()["top_k"],
            4
        );
        let refused = asked(Format::Messages, &chat(json!({"seed": 7})), &Words::Chat, None).unwrap_err();
        assert_eq!(refused, Failure::NoWord("seed".into()));
        let body = asked(Format::Responses, &chat(json!({})), &Words::Chat, None).unwrap();
        assert_eq!((&body["instructions"], &body["store"]), (&json!("Be brief."), &json!(false)));
        assert!(body.get("max_output_tokens").is_none() && !body.to_string().contains("anna"));
        let refused = asked(Format::Responses, &chat(json!({"stop": "x"})), &Words::Chat, None).unwrap_err();
        assert_eq!(refused, Failure::NoWord("stop".into()));
    }

    #[test]
    fn a_name_that_a_client_has_made_up_is_not_told() {
        let told = |message: Value| {
            asked(Format::Messages, &chat(json!({"messages": [message]})), &Words::Chat, None).unwrap_err()
        };
        let no_word = |what: &str| Failure::NoWord(what.into());
        let named = json!({"role": "user", "content": "Hi", "zoe.kowalska@mail.example": 1});
        assert_eq!(told(named), no_word("a field of messages[0]"));
        let in_a_part =
            json!({"role": "user", "content": [{"type": "text", "text": "Hi", "zoe[0].text": 1}]});
        assert_eq!(told(in_a_part), no_word("a field of messages[0].content[0]"));
        let in_brackets = json!({"role": "user", "content": "Hi", "text[Zoe Kowalska]": 1});
        assert_eq!(told(in_brackets), no_word("a field of messages[0]"));
        assert_eq!(told(json!({"role": "user", "content": "Hi", "name": "x"})), no_word("messages[0].name"));
    }

    #[test]
    fn fields_for_models_here_stay_here_in_all_words() {
        let mut request = Request::new("auto", vec![Message::text(Role::User, "Hi")]);
        request.own.fields.extend(
            [("cache_salt", json!("zoe")), ("priority", json!(3)), ("add_generation_prompt", json!(true))]
                .map(|(name, value)| (name.to_owned(), value)),
        );
        for format in [Format::Messages, Format::Responses] {
            let body =
                asked(format, &chat(json!({})), &Words::Neutral(Box::new(request.clone())), None).unwrap();
            assert!(!body.to_string().contains("zoe") && body.get("priority").is_none(), "{body}");
        }
    }

    #[test]
    fn what_a_client_says_in_a_providers_own_words_reaches_it() {
        let thought = PartKind::Reasoning { text: "Hm.".into(), seal: Some(Seal::Signature("sig".into())) };
        let mut request = Request::new(
            "auto",
            vec![
                Message::text(Role::User, "Hi"),
                Message::new(Role::Assistant, vec![Part::new(thought), Part::text("Yes?")]),
                Message::text(Role::User, "Go on"),
            ],
        );
        request.user = Some("anna".into());
        let words = Words::Neutral(Box::new(request));
        let body = asked(Format::Messages, &chat(json!({})), &words, None).unwrap();
        assert_eq!(
            body["messages"][1]["content"][0],
            json!({"type": "thinking", "thinking": "Hm.", "signature": "sig"})
        );
        assert_eq!(body["max_tokens"], USUAL_OUTPUT);
        assert!(!body.to_string().contains("anna"));
    }
}
