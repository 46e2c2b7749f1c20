//! Pictures in a chat, and where they are in what is sent.

use std::ops::Range;

use serde_json::{Map, Value};

/// Characters of a picture's data at least: what is shorter is read as any other text, whatever it says it is.
const LEAST: usize = 100;

/// The addresses of all pictures, which may hold them.
pub(crate) fn urls(chat: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let messages = chat.get("messages").and_then(Value::as_array).into_iter().flatten();
    let parts = messages.filter_map(|message| message["content"].as_array()).flatten();
    parts.filter_map(|part| part["image_url"]["url"].as_str())
}

/// Where the data of pictures is in a body, in order: only as the whole value of a field that holds pictures, in the words
/// of any API. Text cannot look like that, since its quotes are escaped.
pub(crate) fn places(chat: &Map<String, Value>, body: &[u8]) -> Vec<Range<usize>> {
    let Ok(text) = str::from_utf8(body) else { return Vec::new() };
    let mut places = Vec::new();
    for url in urls(chat) {
        let inline = url.strip_prefix("data:image/").and_then(|rest| rest.split_once(";base64,"));
        let Some((_, data)) = inline.filter(|(_, data)| data.len() >= LEAST) else { continue };
        for field in [format!("url\":\"{url}\""), format!("\"data\":\"{data}\"")] {
            places.extend(text.match_indices(&field).map(|(at, _)| {
                let end = at + field.len() - 1;
                end - data.len()..end
            }));
        }
    }
    places.sort_unstable_by_key(|place| place.start);
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_data_of_a_picture_goes_unread() {
        let (data, short) = ("iVBORw0K".repeat(20), "4111111111111111");
        let url = |data: &str| json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}});
        let text = format!("data:image/png;base64,{data} \"url\":\"data:image/png;base64,{data}\"");
        let chat = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": text}, url(&data), url(short)]}]});
        let body = chat.to_string();
        let places = places(chat.as_object().unwrap(), body.as_bytes());
        assert_eq!(places.len(), 1);
        assert_eq!(body[places[0].clone()], data);
        assert!(body[..places[0].start].ends_with("{\"url\":\"data:image/png;base64,"));
        let source =
            json!({"source": {"type": "base64", "media_type": "image/png", "data": data}}).to_string();
        let places = super::places(chat.as_object().unwrap(), source.as_bytes());
        assert_eq!(source[places[0].clone()], data);
    }
}
