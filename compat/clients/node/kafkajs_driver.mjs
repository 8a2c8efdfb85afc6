// Drives kafkajs for compat/clients/driver.py.

import kafkajs from 'kafkajs'

import { admin } from './kafkajs_admin.mjs'
import { addCodecs } from './kafkajs_codecs.mjs'
import { GroupConsumer } from './kafkajs_consumer.mjs'
import { decoded, hello, Named, placed, say, serve, UNKNOWN_OFFSET } from './lines.mjs'

const { CompressionTypes, Kafka, logLevel } = kafkajs
const ACKS = { all: -1, 1: 1, 0: 0 }
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD
}
const UNSUPPORTED = {
  cooperative: 'its consumers speak the eager protocol only: whoever joins again gives up all partitions',
  static: 'its consumers send no group.instance.id',
  assign: 'its consumers read as members of a group only',
  rebalances: 'its events tell of a rebalance, but not which partitions it takes away'
}

const producers = new Named()
const consumers = new Named()

/** A client as its users make one; standard output is taken, so the log goes elsewhere. */
function kafka ({ bootstrap }) {
  const logCreator = () => ({ label, log }) => say(label, log.message, log.error ?? '')
  return new Kafka({ clientId: 'compat', brokers: bootstrap.split(','), logLevel: logLevel.WARN, logCreator })
}

async function openProducer ({ name, acks, compression, idempotent, transactional_id: transactionalId, ...request }) {
  const settings = transactionalId
    ? { transactionalId, idempotent: true, maxInFlightRequests: 1 }
    : idempotent ? { idempotent: true, maxInFlightRequests: 1 } : {}
  const producer = kafka(request).producer(settings)
  await producer.connect()
  const sending = { acks: ACKS[acks], compression: CODECS[compression] }
  producers.set(name, { producer, sending, transaction: null })
}

async function send ({ producer: name, records }) {
  const { producer, transaction, sending } = producers.find(name)
  const byTopic = grouped(records)
  const topicMessages = [...byTopic].map(([topic, its]) => ({ topic, messages: its.map(messageOf) }))
  const answers = await (transaction ?? producer).sendBatch({ ...sending, topicMessages })
  if (sending.acks === 0) {
    return records.map(({ partition }) => ({ partition: partition ?? UNKNOWN_OFFSET, offset: UNKNOWN_OFFSET }))
  }
  return placed(records, answers.map(({ topicName, partition, baseOffset }) => (
    { topic: topicName, partition, offset: baseOffset })))
}

function grouped (records) {
  const found = new Map()
  for (const record of records) {
    found.set(record.topic, [...found.get(record.topic) ?? [], record])
  }
  return found
}

function messageOf ({ partition, key, value, headers, timestamp_ms: timestampMs }) {
  const message = { key: decoded(key), value: decoded(value) }
  if (partition !== undefined && partition !== null) {
    message.partition = partition
  }
  if (timestampMs !== undefined && timestampMs !== null) {
    message.timestamp = String(timestampMs)
  }
  if (headers) {
    message.headers = {}
    for (const [name, text] of headers) {
      message.headers[name] = [...message.headers[name] ?? [], decoded(text)]
    }
  }
  return message
}

async function end (name, how) {
  const made = producers.find(name)
  const { transaction } = made
  made.transaction = null
  await transaction[how]()
}

async function sendOffsets ({ producer, consumer, offsets }) {
  const topics = [...grouped(offsets)].map(([topic, places]) => ({
    topic, partitions: places.map(({ partition, offset }) => ({ partition, offset: String(offset) }))
  }))
  await producers.find(producer).transaction.sendOffsets({ consumerGroupId: consumers.find(consumer).group, topics })
}

async function openConsumer ({ name, ...request }) {
  consumers.set(name, await GroupConsumer.open(kafka(request), request))
}

await addCodecs()
await serve({
  hello: () => hello('kafkajs', UNSUPPORTED),
  ...admin(kafka),
  producer: openProducer,
  send,
  begin: async ({ producer: name }) => {
    const made = producers.find(name)
    made.transaction = await made.producer.transaction()
  },
  commit_transaction: ({ producer }) => end(producer, 'commit'),
  abort: ({ producer }) => end(producer, 'abort'),
  send_offsets: sendOffsets,
  close_producer: ({ producer }) => producers.take(producer).producer.disconnect(),
  consumer: openConsumer,
  poll: ({ consumer, count, timeout_ms: timeoutMs }) => consumers.find(consumer).poll(count, timeoutMs),
  seek_to_time: ({ consumer, topic, partition, timestamp_ms: timestampMs }) =>
    consumers.find(consumer).seekToTime(topic, partition, timestampMs),
  commit: ({ consumer }) => consumers.find(consumer).commit(),
  close_consumer: ({ consumer }) => consumers.take(consumer).close()
}, error => error.type ?? error.cause?.type ?? error.name)
await Promise.all([...consumers.values()].map(consumer => consumer.close()))
await Promise.all([...producers.values()].map(({ producer }) => producer.disconnect()))
