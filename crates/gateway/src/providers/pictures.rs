//! Pictures in a chat, and where they are in what is sent.

use std::ops::Range;

use serde_json::{Map, Value};

/// Characters of a picture's data at least: what is shorter is read as any other text, whatever it says it is.
const LEAST: usize = 100;

/// Whether Base64 begins as a PNG, JPEG, GIF or WebP does. Other data in a picture's place is read as the text that it may be.
fn begins_as_picture(data: &str) -> bool {
    let webp = || data.starts_with("UklGR") && data.get(12..16) == Some("RUJQ");
    ["iVBORw0KGgo", "/9j/", "R0lGODdh", "R0lGODlh"].iter().any(|begin| data.starts_with(begin)) || webp()
}

/// The addresses of all pictures, which may hold them. What a part that says it is something else has in a picture's field is no
/// picture: only tiers that may have pictures are asked with those that are.
pub(crate) fn urls(chat: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let messages = chat.get("messages").and_then(Value::as_array).into_iter().flatten();
    let parts = messages.filter_map(|message| message["content"].as_array()).flatten();
    let pictures = parts.filter(|part| part["type"] == "image_url");
    pictures.filter_map(|part| part["image_url"]["url"].as_str())
}

/// Where the data of pictures is in a body, in order: only as the whole value of a field that holds pictures, in the words
/// of any API. Text cannot look like that, since its quotes are escaped.
pub(crate) fn places(chat: &Map<String, Value>, body: &[u8]) -> Vec<Range<usize>> {
    let Ok(text) = str::from_utf8(body) else { return Vec::new() };
    let mut places = Vec::new();
    for url in urls(chat) {
        let inline = url.strip_prefix("data:image/").and_then(|rest| rest.split_once(";base64,"));
        let Some((_, data)) = inline.filter(|(_, data)| data.len() >= LEAST && begins_as_picture(data))
        else {
            continue;
        };
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
    fn pictures_are_told_by_how_they_begin() {
        for picture in [
            "iVBORw0KGgoAAAANSUhEUg==",
            "/9j/4AAQSkZJRgABAQ==",
            "R0lGODlhAQABAA==",
            "UklGRiQAAABXRUJQVlA4IA==",
        ] {
            assert!(begins_as_picture(picture), "{picture}");
        }
        for other in ["UklGRiQAAABXQVZFZm10IA==", "SGVsbG8=", "", "R0lG"] {
            assert!(!begins_as_picture(other), "{other}");
        }
    }

    #[test]
    fn only_the_data_of_a_picture_goes_unread() {
        let (data, short) = (format!("iVBORw0KGgo{}", "AAAA".repeat(40)), "4111111111111111");
        let text_in_its_place = "bXkgY2FyZCBpcyA0MTExIDExMTEgMTExMSAxMTExLCB".repeat(4);
        let url = |data: &str| json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}});
        let text = format!("data:image/png;base64,{data} \"url\":\"data:image/png;base64,{data}\"");
        let chat = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": text}, url(&data), url(short), url(&text_in_its_place)]}]});
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

    #[test]
    fn what_a_part_that_is_no_picture_has_in_its_place_is_read() {
        let url = format!("data:image/png;base64,iVBORw0KGgo{}", "AAAA".repeat(40));
        for kind in [json!("text"), json!("file"), json!(null), json!(["image_url"])] {
            let part = json!({"type": kind, "text": "Hi", "image_url": {"url": url}});
            let chat = json!({"messages": [{"role": "user", "content": [part]}]});
            let body = chat.to_string();
            assert!(places(chat.as_object().unwrap(), body.as_bytes()).is_empty(), "{kind}");
        }
    }
}
