//! Describes what is wrong with a value. The value is never repeated; serde's own messages, which do so, are never
//! shown.

use toml::Value;

use super::{
    diagnostic::{Place, Problem},
    schema::{KeySchema, ValueType},
    suggest,
};

/// What is wrong with a value, or with one item of it. `said` is the error of its deserialiser.
pub(super) fn of(key: &KeySchema, value: &Value, item: Option<&Value>, said: &str, place: &Place) -> Problem {
    let mut problem = in_general(key, value, item, said);
    if matches!(place, Place::Environment(_)) {
        match key.form {
            ValueType::Texts => problem.cure += ", here separated by commas",
            ValueType::Numbers => problem.cure += ", here without brackets",
            _ => {}
        }
    }
    problem
}

fn in_general(key: &KeySchema, value: &Value, item: Option<&Value>, said: &str) -> Problem {
    let write = format!("write {}", key.expectation);
    let is_text = |hint: &str| Problem::new("this is text", format!("{write}{hint}"));
    match (key.form, value) {
        (ValueType::Integer, Value::Float(_)) => not_whole(key),
        (ValueType::Integer | ValueType::Number, Value::String(_)) => is_text(", without quotes and without a unit"),
        (ValueType::Boolean, Value::String(_)) => is_text(", without quotes"),
        (ValueType::Texts | ValueType::Numbers, Value::String(_)) => is_text(", in brackets"),
        // No key takes a table, but an enum's deserialiser tries to read one.
        (_, Value::Table(_)) => Problem::new("this is a section", write),
        // An error of serde itself.
        (ValueType::Texts, _) if said.starts_with("invalid") && item.is_some() => {
            Problem::new("not everything here is text", write)
        }
        (ValueType::Numbers, _) if said.starts_with("invalid") && item.is_some() => {
            Problem::new("not everything here is a number", write)
        }
        _ if said.starts_with("invalid") => Problem::new(format!("this is {}", name_of(value)), write),
        (ValueType::Number, _) if key.unit == "seconds" => {
            Problem::new("out of range", format!("{write} (1000 milliseconds are a second)"))
        }
        _ if said.starts_with("unknown variant") => {
            let written = item.unwrap_or(value).as_str().unwrap_or_default();
            let near = suggest::nearest(written, key.choices.iter().map(String::as_str));
            let question = near.map(|near| format!("did you mean \"{near}\"? ")).unwrap_or_default();
            Problem::new("there is no such choice", question + &write)
        }
        _ => match said.split_once("; ") {
            Some((what, cure)) => Problem::new(what, cure),
            None => Problem::new(said, write),
        },
    }
}

/// What is wrong with a fraction where a whole number is expected.
fn not_whole(key: &KeySchema) -> Problem {
    let hint = if key.unit == "milliseconds" { " (a second is 1000 milliseconds)" } else { "" };
    Problem::new("this is not a whole number", format!("write {}{hint}", key.expectation))
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}
