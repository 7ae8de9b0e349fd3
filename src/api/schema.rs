//! What a JSON object may hold: one table per object, read by the bodies' reader and by the document.
//!
//! A member that is not in its table is refused by [`super::fields::Field::object`] and is not in
//! `openapi.json`: the two cannot drift apart.

use serde_json::{Map, Value, json};

use super::fields::{
    ID_OCTETS_MAX, IDENTITY_OCTETS_MAX, INTEGER_MAX, TEXT_CHARACTERS_MAX, TIME_END,
};

/// What a value may be.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Text of at most 8,000 characters.
    Text,
    /// Text that is not empty.
    Name,
    /// 1 to 1,024 octets without control characters.
    Identity,
    /// 1 to 255 printable ASCII characters.
    Id,
    /// An absolute http or https address.
    Uri,
    /// RFC 3339 with offset.
    Time,
    /// A whole number.
    Integer(u64, u64),
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A decimal of at most 18 digits, as text.
    Decimal,
    /// ISO 4217 letters.
    Currency,
    /// A closed list of words.
    Words(fn() -> Vec<&'static str>),
    /// One word.
    Constant(&'static str),
    /// Text of a pattern, with an example.
    Pattern(&'static str, &'static str),
    /// A rating group's number or name.
    RatingGroup,
    /// A list: element, least, most.
    List(&'static Shape, usize, Option<usize>),
    /// An object of its own table.
    Object(&'static Object),
    /// The same, with nothing required.
    Part(&'static Object),
    /// Vendor data: names to text, number, boolean or null.
    Extensions,
    /// One of several objects.
    OneOf(&'static [&'static Object]),
    /// The shape, or null.
    Nullable(&'static Shape),
    /// Text that repeats what the caller wrote: any characters, any length.
    Echo,
}

/// A member of an object.
#[derive(Clone, Copy)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it may be; an optional one may be null as well, which is the same as absent.
    pub shape: Shape,
    /// Has it to be there?
    pub required: bool,
    /// In a sentence.
    pub doc: &'static str,
}

/// An object's table.
pub struct Object {
    /// Name of the component in the document.
    pub name: &'static str,
    /// In a sentence.
    pub doc: &'static str,
    /// Its members, in the order of the API page.
    pub members: &'static [Member],
    /// Are other members allowed?
    pub open: bool,
}

impl Object {
    /// A table of a request: no other members.
    pub const fn new(name: &'static str, doc: &'static str, members: &'static [Member]) -> Object {
        Object { name, doc, members, open: false }
    }

    /// A table of an answer: clients have to ignore what they do not know.
    pub const fn open(name: &'static str, doc: &'static str, members: &'static [Member]) -> Object {
        Object { name, doc, members, open: true }
    }

    /// The member of this name.
    pub fn member(&self, name: &str) -> Option<&'static Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The names of its members.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.members.iter().map(|member| member.name)
    }
}

/// A member that has to be there.
pub const fn need(name: &'static str, shape: Shape, doc: &'static str) -> Member {
    Member { name, shape, required: true, doc }
}

/// A member that may be left out.
pub const fn may(name: &'static str, shape: Shape, doc: &'static str) -> Member {
    Member { name, shape, required: false, doc }
}

/// A whole number from 0 to 2^53-1.
pub const COUNT: Shape = Shape::Integer(0, INTEGER_MAX);

/// The words of a table.
pub fn words<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(word, _)| *word).collect()
}

/// JSON Schemas of tables, each once, by name.
#[derive(Default)]
pub struct Components {
    schemas: Map<String, Value>,
    prefix: &'static str,
}

impl Components {
    /// References begin with `prefix`: `#/components/schemas/`.
    pub fn new(prefix: &'static str) -> Components {
        Components { schemas: Map::new(), prefix }
    }

    /// All schemas that were asked for, and those they need, in alphabetical order.
    pub fn into_schemas(self) -> Map<String, Value> {
        let mut entries: Vec<_> = self.schemas.into_iter().collect();
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        entries.into_iter().collect()
    }

    /// A reference to an object's schema.
    pub fn object(&mut self, object: &Object) -> Value {
        self.table(object, object.name.to_owned(), true)
    }

    fn table(&mut self, object: &Object, name: String, complete: bool) -> Value {
        let reference = json!({ "$ref": format!("{}{name}", self.prefix) });
        if self.schemas.contains_key(&name) {
            return reference;
        }
        // Reserves the name: an object may hold itself.
        self.schemas.insert(name.clone(), Value::Null);
        let mut properties = Map::new();
        for member in object.members {
            let shape = self.shape(&member.shape);
            let shape =
                if member.required && complete { shape } else { self.nullable(shape, object) };
            properties.insert(member.name.to_owned(), described(shape, member.doc));
        }
        let required: Vec<&str> = object
            .members
            .iter()
            .filter(|member| member.required && complete)
            .map(|member| member.name)
            .collect();
        let mut schema = json!({ "type": "object", "description": object.doc });
        schema["properties"] = Value::Object(properties);
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if !object.open {
            schema["additionalProperties"] = json!(false);
        }
        self.schemas.insert(name, schema);
        reference
    }

    /// In a request null is the same as absent; an answer leaves out what it has not.
    fn nullable(&self, shape: Value, object: &Object) -> Value {
        if object.open { shape } else { or_null(shape) }
    }

    /// The schema of a shape.
    pub fn shape(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Text => {
                json!({ "type": "string", "maxLength": TEXT_CHARACTERS_MAX, "pattern": NO_NUL })
            }
            Shape::Name => json!({
                "type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX,
                "pattern": NO_NUL,
            }),
            Shape::Identity => json!({
                "type": "string", "minLength": 1, "maxLength": IDENTITY_OCTETS_MAX,
                "pattern": NO_CONTROL,
            }),
            Shape::Id => json!({
                "type": "string", "minLength": 1, "maxLength": ID_OCTETS_MAX, "pattern": "^[ -~]*$",
            }),
            Shape::Uri => json!({
                "type": "string", "format": "uri", "maxLength": IDENTITY_OCTETS_MAX,
                "pattern": "^https?://[^/?#\\s]+\\S*$",
            }),
            Shape::Time => {
                json!({ "type": "string", "format": "date-time", "description": TIME_END })
            }
            Shape::Integer(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Shape::Number => json!({ "type": "number" }),
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Decimal => json!({
                "type": "string", "maxLength": 19, "pattern": "^[0-9]{1,18}(\\.[0-9]{1,17})?$",
            }),
            Shape::Currency => json!({ "type": "string", "pattern": "^[A-Z]{3}$" }),
            Shape::Words(words) => json!({ "type": "string", "enum": words() }),
            Shape::Constant(word) => json!({ "type": "string", "const": word }),
            Shape::Pattern(pattern, example) => {
                json!({ "type": "string", "pattern": pattern, "examples": [example] })
            }
            Shape::RatingGroup => json!({ "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                { "type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX, "pattern": NO_NUL },
            ]}),
            Shape::List(element, least, most) => {
                let mut list = json!({ "type": "array", "items": self.shape(element) });
                if *least > 0 {
                    list["minItems"] = json!(least);
                }
                if let Some(most) = most {
                    list["maxItems"] = json!(most);
                }
                list
            }
            Shape::Object(object) => self.object(object),
            Shape::Part(object) => self.table(object, format!("{}Part", object.name), false),
            Shape::Extensions => json!({
                "type": "object",
                "propertyNames": { "minLength": 1, "maxLength": ID_OCTETS_MAX },
                "additionalProperties": {
                    "type": ["string", "number", "boolean", "null"],
                    "maxLength": TEXT_CHARACTERS_MAX, "pattern": NO_NUL,
                },
            }),
            Shape::OneOf(objects) => {
                let references: Vec<Value> =
                    objects.iter().map(|object| self.object(object)).collect();
                json!({ "anyOf": references })
            }
            Shape::Nullable(shape) => or_null(self.shape(shape)),
            Shape::Echo => json!({ "type": "string" }),
        }
    }
}

const NO_NUL: &str = "^[^\\u0000]*$";
const NO_CONTROL: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";

/// The schema, or null.
fn or_null(mut schema: Value) -> Value {
    match schema.get("type") {
        Some(Value::String(kind)) if schema.get("const").is_none() => {
            schema["type"] = json!([kind, "null"]);
            if let Some(Value::Array(words)) = schema.get_mut("enum") {
                words.push(Value::Null);
            }
            schema
        }
        _ => match schema.get_mut("anyOf") {
            Some(Value::Array(choices)) => {
                choices.push(json!({ "type": "null" }));
                schema
            }
            _ => json!({ "anyOf": [schema, { "type": "null" }] }),
        },
    }
}

/// With a description; one beside `$ref` is allowed since OpenAPI 3.1.
fn described(mut schema: Value, doc: &str) -> Value {
    if !doc.is_empty() {
        let own = schema.get("description").and_then(Value::as_str).map(str::to_owned);
        schema["description"] = json!(match own {
            Some(own) if !schema.as_object().is_some_and(|s| s.contains_key("$ref")) => {
                format!("{doc} {own}")
            }
            _ => doc.to_owned(),
        });
    }
    schema
}
