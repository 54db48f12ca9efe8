//! Messages of every version that was ever published can be read, and are written as they always were.

use common::message::{self, Reply};
use serde_json::Value;

#[test]
fn commands_of_every_version_are_read_and_written_as_ever() {
    check_commands(include_bytes!("../messages/v1/commands.json"));
    check_commands(include_bytes!("../messages/v2/commands.json"));
}

fn check_commands(frozen: &[u8]) {
    let opened = message::open(frozen).unwrap();
    assert!(opened.unreadable.is_empty(), "{:?}", opened.unreadable);
    let encoded: Vec<Vec<u8>> = opened.commands.iter().map(|queued| message::encode(queued).unwrap()).collect();
    let written = message::envelope(encoded.iter().map(Vec::as_slice));
    assert_eq!(json(&written), json(frozen));
}

#[test]
fn replies_of_version_1_are_read_and_written_as_ever() {
    let frozen = include_bytes!("../messages/v1/reply.json");
    let reply: Reply = serde_json::from_slice(frozen).unwrap();
    assert_eq!(json(&serde_json::to_vec(&reply).unwrap()), json(frozen));
}

#[test]
fn one_that_cannot_be_read_does_not_take_the_others_along() {
    let Value::Object(mut envelope) = json(include_bytes!("../messages/v1/commands.json")) else { panic!("an object") };
    let Some(Value::Array(commands)) = envelope.get_mut("commands") else { panic!("an array") };
    let known = commands.len();
    commands.insert(1, serde_json::json!({ "PlaceOrderV999": {} }));
    commands.push(serde_json::json!("nonsense"));
    let opened = message::open(&serde_json::to_vec(&envelope).unwrap()).unwrap();
    assert_eq!((opened.commands.len(), opened.unreadable.len()), (known, 2));
    assert_eq!(opened.unreadable[0].bytes, br#"{"PlaceOrderV999":{}}"#);
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}
