//! Administration.

use std::collections::HashMap;
use std::hash::Hash;

use krafka::admin::{AdminClient, ConfigOp, ConfigResource, NewTopic};
use serde_json::{Value, json};

use crate::connect;
use crate::lines::{Failure, Request};

/// Does it with a client of its own, as a command-line tool would.
pub async fn answer(request: &Request) -> Result<Value, Failure> {
    let client = connect(request).await?.admin();
    let answer = call(&client, request).await;
    client.close().await?;
    answer
}

async fn call(client: &AdminClient, request: &Request) -> Result<Value, Failure> {
    let topic = &request.topic;
    match request.action.as_str() {
        "create_topic" => {
            let mut new = NewTopic::new(topic, request.partitions, request.replication_factor)?;
            for (name, value) in &request.config {
                new = new.with_config(name, value);
            }
            only(client.create_topics([new], Default::default()).await?, topic)?;
        }
        "create_partitions" => {
            only(client.create_partitions([(topic, request.partitions)], Default::default()).await?, topic)?;
        }
        "list_topics" => return Ok(json!(client.list_topics(Default::default()).await?)),
        "describe_topic" => return describe_topic(client, topic).await,
        "describe_config" => {
            let resource = ConfigResource::topic(topic);
            let entries = only(client.describe_configs([resource.clone()], Default::default()).await?, &resource)?;
            let values: HashMap<_, _> = entries.into_iter().map(|entry| (entry.name, entry.value)).collect();
            return Ok(json!(values));
        }
        "alter_config" => {
            let resource = ConfigResource::topic(topic);
            let changes = request.config.iter().map(|(name, value)| ConfigOp::set(name, value)).collect();
            let altered = client.incremental_alter_configs([(resource.clone(), changes)], Default::default()).await?;
            only(altered, &resource)?;
        }
        "delete_topic" => only(client.delete_topics([topic], Default::default()).await?, topic)?,
        "list_groups" => return list_groups(client).await,
        "delete_group" => {
            let group = request.group.clone().unwrap_or_default();
            only(client.delete_consumer_groups([&group], Default::default()).await?, &group)?;
        }
        other => return Err(Failure { name: "NotSupported".into(), message: format!("this driver has no {other}") }),
    }
    Ok(json!({}))
}

async fn describe_topic(client: &AdminClient, topic: &String) -> Result<Value, Failure> {
    let description = only(client.describe_topics([topic], Default::default()).await?, topic)?;
    let partitions: Vec<Value> = description
        .partitions
        .iter()
        .map(|one| {
            json!({"partition": one.partition, "leader": one.leader, "replicas": one.replicas, "in_sync": one.isr})
        })
        .collect();
    Ok(json!(partitions))
}

async fn list_groups(client: &AdminClient) -> Result<Value, Failure> {
    let mut names = Vec::new();
    for listed in client.list_consumer_groups(Default::default()).await?.into_values() {
        names.extend(listed?.into_iter().map(|group| group.group_id));
    }
    Ok(json!(names))
}

/// What came of the one that was asked about.
fn only<K: Eq + Hash, T>(mut results: HashMap<K, krafka::Result<T>>, key: &K) -> Result<T, Failure> {
    match results.remove(key) {
        Some(result) => Ok(result?),
        None => Err(Failure::bad_request("the answer is about something else")),
    }
}
