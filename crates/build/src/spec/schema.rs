//! The JSON Schema of the spec, made of the table that the reader goes by.

use serde_json::{Map, Value, json};

use super::keys::{Need, ROOT, Shape, Table};

/// The JSON Schema (draft 2020-12) of `cairn.toml`, for editors.
///
/// It knows every key, which of them must be there, and the form of their values. What depends on more than one value, or
/// on what is on the disk, only [`Spec::parse`](super::Spec::parse) and a build can say.
#[must_use]
pub fn schema() -> Value {
    let mut schema = of_table(&ROOT);
    if let Value::Object(members) = &mut schema {
        let head = [
            ("$schema", "https://json-schema.org/draft/2020-12/schema"),
            ("title", "cairn.toml"),
        ];
        members.extend(head.map(|(name, value)| (name.to_owned(), json!(value))));
    }
    schema
}

fn of_table(table: &Table) -> Value {
    let mut properties = Map::new();
    for key in table.keys {
        let mut value = of_shape(&key.shape);
        if let Value::Object(members) = &mut value {
            members.insert("description".to_owned(), json!(key.about));
        }
        properties.insert(key.name.to_owned(), value);
    }
    let required: Vec<_> = table
        .keys
        .iter()
        .filter(|key| key.need == Need::Required)
        .map(|key| key.name)
        .collect();
    let mut object = json!({
        "type": "object",
        "description": table.about,
        "properties": properties,
        "additionalProperties": false,
    });
    if let (Value::Object(members), false) = (&mut object, required.is_empty()) {
        members.insert("required".to_owned(), json!(required));
    }
    object
}

fn of_shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Form(pattern) => json!({ "type": "string", "pattern": pattern }),
        Shape::OneOf(values) => json!({ "enum": values }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Number { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::List(element) => json!({ "type": "array", "items": of_shape(element) }),
        Shape::Map(value) => json!({ "type": "object", "additionalProperties": of_shape(value) }),
        Shape::Table(table) => of_table(table),
        Shape::Tables(table) => json!({ "type": "array", "items": of_table(table) }),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(of_shape).collect::<Vec<_>>() }),
    }
}
