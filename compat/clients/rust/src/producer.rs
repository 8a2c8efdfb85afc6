//! Producers, with and without transactions.

use krafka::consumer::ConsumerGroupMetadata;
use krafka::producer::{Acks, DeliveryHandle, TopicPartitionOffset};
use krafka::{Compression, Record};
use serde_json::{Value, json};

use crate::connect;
use crate::lines::{self, Failure, Place, Request, UNKNOWN_OFFSET};

pub enum Producer {
    Plain(krafka::producer::Producer),
    Transactional(krafka::producer::TransactionalProducer),
}

impl Producer {
    pub async fn open(request: &Request) -> Result<Self, Failure> {
        let acks = match request.acks.as_str() {
            "0" => Acks::None,
            "1" => Acks::Leader,
            _ => Acks::All,
        };
        let compression = match request.compression.as_str() {
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            _ => Compression::None,
        };
        let mut builder = connect(request).await?.producer().acks(acks).compression(compression);
        if let Some(bytes) = request.request_bytes_max {
            builder = builder.max_request_size(bytes);
        }
        Ok(match &request.transactional_id {
            Some(id) => Producer::Transactional(builder.build_transactional(id).await?),
            None => Producer::Plain(builder.idempotent(request.idempotent).build().await?),
        })
    }

    pub async fn send(&self, records: &[lines::Record]) -> Result<Value, Failure> {
        let mut handles = Vec::new();
        for record in records {
            handles.push(self.enqueue(record_of(record)?).await?);
        }
        let mut sent = Vec::new();
        for handle in handles {
            let metadata = handle.await?;
            let offset = if metadata.is_success() { metadata.offset } else { UNKNOWN_OFFSET };
            sent.push(json!({"partition": metadata.partition, "offset": offset}));
        }
        Ok(json!(sent))
    }

    async fn enqueue(&self, record: Record) -> Result<DeliveryHandle, Failure> {
        Ok(match self {
            Producer::Plain(producer) => producer.enqueue(record).await?,
            Producer::Transactional(producer) => producer.enqueue(record).await?,
        })
    }

    fn transactional(&self) -> Result<&krafka::producer::TransactionalProducer, Failure> {
        match self {
            Producer::Transactional(producer) => Ok(producer),
            Producer::Plain(_) => Err(Failure::bad_request("the producer has no transactions")),
        }
    }

    pub fn begin(&self) -> Result<(), Failure> {
        Ok(self.transactional()?.begin()?)
    }

    pub async fn commit(&self) -> Result<(), Failure> {
        Ok(self.transactional()?.commit().await?)
    }

    pub async fn abort(&self) -> Result<(), Failure> {
        Ok(self.transactional()?.abort().await?)
    }

    pub async fn send_offsets(&self, places: &[Place], member: &ConsumerGroupMetadata) -> Result<(), Failure> {
        let offsets: Vec<_> = places
            .iter()
            .map(|place| TopicPartitionOffset::new(&place.topic, place.partition, place.offset))
            .collect();
        Ok(self.transactional()?.send_offsets(&offsets, member).await?)
    }

    pub async fn close(self) -> Result<(), Failure> {
        Ok(match self {
            Producer::Plain(producer) => producer.close().await?,
            Producer::Transactional(producer) => producer.close().await?,
        })
    }
}

fn record_of(given: &lines::Record) -> Result<Record, Failure> {
    let mut record = Record::new(&given.topic, Vec::new()).without_value();
    record.partition = given.partition;
    record.key = given.key.clone().map(Into::into);
    record.value = given.value.clone().map(Into::into);
    record.timestamp = given.timestamp_ms;
    for (name, text) in given.headers.iter().flatten() {
        record = match text {
            Some(text) => record.header(name, lines::decoded(text)?),
            None => record.null_header(name),
        };
    }
    Ok(record)
}
