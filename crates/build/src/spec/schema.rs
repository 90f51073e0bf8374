//! The JSON Schema of the spec, made of the table that the reader goes by.

use serde_json::{Map, Value, json};

use super::keys::{BASE, CONFIG, IMAGE, LEDGER, Need, ROOT, Shape, Table, WORKSPACE};

/// The JSON Schema (draft 2020-12) of `cairn.toml`, for editors.
///
/// It knows every key, which of them must be there, and the form of their values. What depends on more than one value, or
/// on what is on the disk, only [`Spec::parse`](super::Spec::parse) and a build can say.
#[must_use]
pub fn schema() -> Value {
    let mut schema = of_table(&ROOT);
    if let Value::Object(members) = &mut schema {
        // The root of a workspace need not be an image.
        let kinds = ["image", "workspace"].map(|key| json!({ "required": [key] }));
        members.insert("anyOf".to_owned(), json!(kinds));
        let head = [
            ("$schema", "https://json-schema.org/draft/2020-12/schema"),
            ("title", "cairn.toml"),
        ];
        members.extend(head.map(|(name, value)| (name.to_owned(), json!(value))));
    }
    schema
}

fn of_table(table: &Table) -> Value {
    let may_inherit = [IMAGE, BASE, CONFIG, LEDGER]
        .iter()
        .any(|one| one.about == table.about);
    table_that(table, may_inherit)
}

fn table_that(table: &Table, inherits: bool) -> Value {
    let mut properties = Map::new();
    for key in table.keys {
        let mut value = match &key.shape {
            // What a workspace gives it does not take from another.
            Shape::Table(inner) if table.about == WORKSPACE.about => table_that(inner, false),
            shape => of_shape(shape),
        };
        if inherits {
            value = json!({ "anyOf": [value, from_workspace()] });
        }
        if let Value::Object(members) = &mut value {
            members.insert("description".to_owned(), json!(key.about));
        }
        properties.insert(key.name.to_owned(), value);
    }
    if inherits {
        let about = "Whether what is not said here is taken from the workspace.";
        properties.insert(
            "workspace".to_owned(),
            json!({ "const": true, "description": about }),
        );
    }
    // What a workspace gives need not be said; only the name is every image's own.
    let may_be_inherited = |name: &str| inherits && name != "name";
    let required: Vec<_> = table
        .keys
        .iter()
        .filter(|key| key.need == Need::Required && !may_be_inherited(key.name))
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

/// `{ workspace = true }`
fn from_workspace() -> Value {
    json!({
        "type": "object",
        "properties": { "workspace": { "const": true } },
        "required": ["workspace"],
        "additionalProperties": false,
    })
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
