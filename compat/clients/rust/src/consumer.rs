//! Consumers, in a group or with assigned partitions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use krafka::consumer::{
    AutoOffsetReset, ConsumerGroupMetadata, ConsumerRebalanceListener, ConsumerRecord, IsolationLevel,
    PartitionAssignmentStrategy, TopicPartition,
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::connect;
use crate::lines::{EARLIEST, Failure, LATEST, Request, UNKNOWN_OFFSET, encoded};

pub struct Consumer {
    inner: krafka::consumer::Consumer,
    history: Arc<History>,
}

/// What the library's callbacks have told.
#[derive(Default)]
struct History {
    assigned: Mutex<Vec<Value>>,
    revoked: Mutex<Vec<Value>>,
}

impl ConsumerRebalanceListener for History {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        note(&self.assigned, partitions);
    }

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        note(&self.revoked, partitions);
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        note(&self.revoked, partitions);
    }
}

fn note(list: &Mutex<Vec<Value>>, partitions: &[TopicPartition]) {
    let pairs: Vec<Value> = partitions.iter().map(|one| json!([one.topic, one.partition])).collect();
    list.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(json!(pairs));
}

impl Consumer {
    pub async fn open(request: &Request) -> Result<Self, Failure> {
        let kafka = connect(request).await?;
        let mut builder = match &request.group {
            Some(group) => kafka.consumer(group),
            None => kafka.consumer_without_group(),
        };
        builder = builder.enable_auto_commit(false).auto_offset_reset(AutoOffsetReset::Earliest);
        if request.isolation.as_deref() == Some("read_committed") {
            builder = builder.isolation_level(IsolationLevel::ReadCommitted);
        }
        if let Some(bytes) = request.fetch_bytes_max {
            builder = builder.fetch_max_bytes(bytes).max_partition_fetch_bytes(bytes);
        }
        if request.assignor.as_deref() == Some("cooperative") {
            builder = builder.partition_assignment_strategy(PartitionAssignmentStrategy::CooperativeSticky);
        }
        if let Some(id) = &request.instance_id {
            builder = builder.group_instance_id(id);
        }
        if let Some(ms) = request.session_timeout_ms {
            builder = builder.session_timeout(Duration::from_millis(ms));
        }
        if let Some(ms) = request.heartbeat_interval_ms {
            builder = builder.heartbeat_interval(Duration::from_millis(ms));
        }
        let history = Arc::new(History::default());
        let inner = builder.rebalance_listener(history.clone()).build().await?;
        let made = Consumer { inner, history };
        if request.group.is_some() {
            made.inner.subscribe(&request.topics).await?;
        } else {
            made.assign(request).await?;
        }
        Ok(made)
    }

    async fn assign(&self, request: &Request) -> Result<(), Failure> {
        let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for place in &request.assign {
            by_topic.entry(&place.topic).or_default().push(place.partition);
        }
        for (topic, partitions) in by_topic {
            self.inner.assign(topic, partitions).await?;
        }
        for place in &request.assign {
            match place.offset {
                EARLIEST => self.inner.seek_to_beginning(&place.topic, place.partition).await?,
                LATEST => self.inner.seek_to_end(&place.topic, place.partition).await?,
                offset => self.inner.seek(&place.topic, place.partition, offset).await?,
            }
        }
        Ok(())
    }

    /// Receives one at a time, so that the library's positions are at what was returned.
    pub async fn poll(&self, count: usize, timeout: Duration) -> Result<Value, Failure> {
        let deadline = Instant::now() + timeout;
        let mut records = Vec::new();
        while records.len() < count {
            match timeout_at(deadline, self.inner.recv()).await {
                Ok(Ok(Some(record))) => records.push(value_of(&record)),
                Ok(Err(error)) if error.is_retriable() => eprintln!("{error}"),
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(None)) | Err(_) => break,
            }
        }
        let mut assignment = Vec::new();
        for (topic, partitions) in self.inner.assignment().await {
            assignment.extend(partitions.into_iter().map(|partition| json!([topic, partition])));
        }
        Ok(json!({"records": records, "assignment": assignment}))
    }

    pub async fn seek_to_time(&self, request: &Request) -> Result<Value, Failure> {
        let key = (request.topic.clone(), request.partition);
        let mut found = self.inner.offsets_for_times(&[(&request.topic, request.partition)], request.timestamp_ms).await;
        let offset = found.remove(&key).unwrap_or(Ok(UNKNOWN_OFFSET))?;
        if offset == UNKNOWN_OFFSET {
            self.inner.seek_to_end(&request.topic, request.partition).await?;
        } else {
            self.inner.seek(&request.topic, request.partition, offset).await?;
        }
        Ok(json!({"offset": offset}))
    }

    pub async fn commit(&self) -> Result<(), Failure> {
        Ok(self.inner.commit().await?)
    }

    pub async fn membership(&self) -> Result<ConsumerGroupMetadata, Failure> {
        let member = self.inner.group_metadata().await;
        member.ok_or_else(|| Failure::bad_request("the consumer is no member of a group"))
    }

    pub fn rebalances(&self) -> Value {
        let read = |list: &Mutex<Vec<Value>>| list.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        json!({"assigned": read(&self.history.assigned), "revoked": read(&self.history.revoked)})
    }

    pub async fn close(self) -> Result<(), Failure> {
        Ok(self.inner.close().await?)
    }
}

fn value_of(record: &ConsumerRecord) -> Value {
    let headers: Vec<Value> =
        record.headers.iter().map(|(name, value)| json!([name, encoded(value.as_deref())])).collect();
    json!({
        "topic": &*record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": encoded(record.key.as_deref()),
        "value": encoded(record.value.as_deref()),
        "headers": headers,
        "timestamp_ms": record.timestamp,
    })
}
