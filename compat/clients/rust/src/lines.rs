//! What requests and answers hold: compat/clients/driver.py has the protocol.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

pub const EARLIEST: i64 = -2;
pub const LATEST: i64 = -1;
pub const UNKNOWN_OFFSET: i64 = -1;

const FEATURES: [&str; 18] = [
    "admin", "none", "gzip", "snappy", "lz4", "zstd", "idempotent", "transactions", "exactly_once", "eager",
    "cooperative", "static", "seek_by_time", "headers", "large_messages", "many_partitions", "restart", "failover",
];
/// Of the library; Cargo.toml has it too.
const VERSION: &str = "0.28.1";

/// Any request; which fields count depends on what is to be done.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Request {
    pub id: u64,
    #[serde(rename = "do")]
    pub action: String,
    pub bootstrap: String,
    pub topic: String,
    pub partition: i32,
    pub partitions: i32,
    pub replication_factor: i16,
    pub config: HashMap<String, String>,
    pub name: String,
    pub acks: String,
    pub compression: String,
    pub idempotent: bool,
    pub transactional_id: Option<String>,
    pub request_bytes_max: Option<usize>,
    pub producer: String,
    pub records: Vec<Record>,
    pub offsets: Vec<Place>,
    pub topics: Vec<String>,
    pub group: Option<String>,
    pub assignor: Option<String>,
    pub instance_id: Option<String>,
    pub session_timeout_ms: Option<u64>,
    pub heartbeat_interval_ms: Option<u64>,
    pub assign: Vec<Place>,
    pub isolation: Option<String>,
    pub fetch_bytes_max: Option<i32>,
    pub consumer: String,
    pub count: usize,
    pub timeout_ms: u64,
    pub timestamp_ms: i64,
}

impl Request {
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// A record to send.
#[derive(Deserialize)]
pub struct Record {
    pub topic: String,
    #[serde(default)]
    pub partition: Option<i32>,
    #[serde(default, deserialize_with = "bytes")]
    pub key: Option<Vec<u8>>,
    #[serde(default, deserialize_with = "bytes")]
    pub value: Option<Vec<u8>>,
    #[serde(default)]
    pub headers: Option<Vec<(String, Option<String>)>>,
    #[serde(default)]
    pub timestamp_ms: Option<i64>,
}

/// A place in a partition.
#[derive(Deserialize)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// Why something was not done.
#[derive(Debug)]
pub struct Failure {
    pub name: String,
    pub message: String,
}

impl Failure {
    pub fn bad_request(message: &str) -> Self {
        Failure { name: "BadRequest".into(), message: message.into() }
    }
}

pub fn hello() -> Value {
    json!({"client": "krafka", "version": VERSION, "language": "Rust", "features": FEATURES, "unsupported": {}})
}

pub fn encoded(data: Option<&[u8]>) -> Value {
    data.map_or(Value::Null, |bytes| Value::String(STANDARD.encode(bytes)))
}

pub fn decoded(text: &str) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(text).map_err(|error| Failure::bad_request(&error.to_string()))
}

/// Kafka's spelling of an error that the library spells `NotLeaderOrFollower`.
pub fn kafka_name(name: &str) -> String {
    let mut spelled = String::new();
    for (place, letter) in name.chars().enumerate() {
        if place > 0 && letter.is_uppercase() {
            spelled.push('_');
        }
        spelled.extend(letter.to_uppercase());
    }
    spelled
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| STANDARD.decode(text).map_err(serde::de::Error::custom)).transpose()
}
