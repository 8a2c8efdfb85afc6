//! Drives krafka for compat/clients/driver.py.

mod admin;
mod consumer;
mod lines;
mod producer;

use std::collections::HashMap;

use krafka::{Kafka, KrafkaError};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use consumer::Consumer;
use lines::{Failure, Request, hello};
use producer::Producer;

/// The name and the error of the library, as an answer gives them.
impl From<KrafkaError> for Failure {
    fn from(error: KrafkaError) -> Self {
        let name = match &error {
            KrafkaError::Broker { code, .. } => lines::kafka_name(&format!("{code:?}")),
            other => format!("{other:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
        };
        Failure { name, message: error.to_string() }
    }
}

/// Connects as a program of the library's users does.
async fn connect(request: &Request) -> Result<Kafka, Failure> {
    Ok(Kafka::builder(request.bootstrap.clone()).client_id("compat").connect().await?)
}

#[derive(Default)]
struct Driver {
    producers: HashMap<String, Producer>,
    consumers: HashMap<String, Consumer>,
}

impl Driver {
    fn producer(&self, request: &Request) -> Result<&Producer, Failure> {
        self.producers.get(&request.producer).ok_or_else(|| Failure::bad_request("there is no such producer"))
    }

    fn consumer(&mut self, request: &Request) -> Result<&mut Consumer, Failure> {
        self.consumers.get_mut(&request.consumer).ok_or_else(|| Failure::bad_request("there is no such consumer"))
    }

    async fn answer(&mut self, request: &Request) -> Result<Value, Failure> {
        match request.action.as_str() {
            "hello" => return Ok(hello()),
            "producer" => {
                self.producers.insert(request.name.clone(), Producer::open(request).await?);
            }
            "send" => return self.producer(request)?.send(&request.records).await,
            "begin" => self.producer(request)?.begin()?,
            "commit_transaction" => self.producer(request)?.commit().await?,
            "abort" => self.producer(request)?.abort().await?,
            "send_offsets" => {
                let member = self.consumer(request)?.membership().await?;
                self.producer(request)?.send_offsets(&request.offsets, &member).await?;
            }
            "close_producer" => {
                self.producer(request)?;
                if let Some(producer) = self.producers.remove(&request.producer) {
                    producer.close().await?;
                }
            }
            "consumer" => {
                self.consumers.insert(request.name.clone(), Consumer::open(request).await?);
            }
            "poll" => return self.consumer(request)?.poll(request.count, request.timeout()).await,
            "seek_to_time" => return self.consumer(request)?.seek_to_time(request).await,
            "commit" => self.consumer(request)?.commit().await?,
            "rebalances" => return Ok(self.consumer(request)?.rebalances()),
            "close_consumer" => {
                self.consumer(request)?;
                if let Some(consumer) = self.consumers.remove(&request.consumer) {
                    consumer.close().await?;
                }
            }
            _ => return admin::answer(request).await,
        }
        Ok(json!({}))
    }

    async fn close(self) {
        for consumer in self.consumers.into_values() {
            if let Err(failure) = consumer.close().await {
                eprintln!("{failure:?}");
            }
        }
        for producer in self.producers.into_values() {
            if let Err(failure) = producer.close().await {
                eprintln!("{failure:?}");
            }
        }
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut driver = Driver::default();
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut output = tokio::io::stdout();
    while let Some(line) = input.next_line().await? {
        let request: Request = serde_json::from_str(&line)?;
        let answer = match driver.answer(&request).await {
            Ok(result) => json!({"id": request.id, "result": result}),
            Err(failure) => {
                eprintln!("{}: {failure:?}", request.action);
                json!({"id": request.id, "error": failure.name, "message": failure.message})
            }
        };
        output.write_all(format!("{answer}\n").as_bytes()).await?;
        output.flush().await?;
    }
    driver.close().await;
    Ok(())
}
