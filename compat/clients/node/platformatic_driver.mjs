// Drives @platformatic/kafka for compat/clients/driver.py.

import { compressionsAlgorithms, ProduceAcks, Producer } from '@platformatic/kafka'

import { decoded, DriverError, hello, Named, placed, serve, UNKNOWN_OFFSET } from './lines.mjs'
import { admin } from './platformatic_admin.mjs'
import { GroupConsumer } from './platformatic_consumer.mjs'

const ACKS = { all: ProduceAcks.ALL, 1: ProduceAcks.LEADER, 0: ProduceAcks.NO_RESPONSE }
const UNSUPPORTED = {
  cooperative: 'its classic groups give up all partitions to join again; its groups by KIP-848 have assignors of the broker',
  static: 'its members have a group.instance.id, but leave the group when they are closed',
  assign: 'its consumers read as members of a group only',
  rebalances: 'its events tell what a join has assigned, not what a rebalance takes away'
}
if (!compressionsAlgorithms.zstd.available) {
  UNSUPPORTED.zstd = `it takes zstd from Node.js, which has it from 22.15 on; this is ${process.versions.node}`
}

const producers = new Named()
const consumers = new Named()

function connection ({ bootstrap }) {
  return { clientId: 'compat', bootstrapBrokers: bootstrap.split(',') }
}

function openProducer ({ name, acks, compression, idempotent, transactional_id: transactionalId, ...request }) {
  const settings = { ...connection(request), acks: ACKS[acks], compression }
  if (transactionalId) {
    Object.assign(settings, { transactionalId, idempotent: true })
  } else if (idempotent) {
    settings.idempotent = true
  }
  producers.set(name, { producer: new Producer(settings), acks: ACKS[acks], transaction: null })
}

async function send ({ producer: name, records }) {
  const { producer, transaction, acks } = producers.find(name)
  const { offsets } = await (transaction ?? producer).send({ messages: records.map(messageOf), acks })
  if (acks === ProduceAcks.NO_RESPONSE) {
    return records.map(({ partition }) => ({ partition: partition ?? UNKNOWN_OFFSET, offset: UNKNOWN_OFFSET }))
  }
  return placed(records, offsets)
}

function messageOf ({ topic, partition, key, value, headers, timestamp_ms: timestampMs }) {
  const message = { topic, key: decoded(key), value: decoded(value) }
  if (partition !== undefined && partition !== null) {
    message.partition = partition
  }
  if (timestampMs !== undefined && timestampMs !== null) {
    message.timestamp = BigInt(timestampMs)
  }
  if (headers) {
    // A map of buffers, and so with room for two of one name.
    message.headers = new Map(headers.map(([name, text]) => [Buffer.from(name), decoded(text)]))
  }
  return message
}

async function end (name, how) {
  const made = producers.find(name)
  const { transaction } = made
  made.transaction = null
  await transaction[how]()
}

/** The library takes offsets as messages that have been read. */
async function sendOffsets ({ producer, consumer: name, offsets }) {
  const { transaction } = producers.find(producer)
  const consumer = consumers.find(name)
  await transaction.addConsumer(consumer.consumer)
  for (const { topic, partition, offset } of offsets) {
    const last = consumer.lastOf(topic, partition)
    if (last?.offset !== BigInt(offset) - 1n) {
      throw new DriverError('BadRequest', `${topic}-${partition} has been read to ${last?.offset}, not to ${offset}`)
    }
    await transaction.addOffset(last)
  }
}

function nameOf (error) {
  const pending = [error]
  while (pending.length > 0) {
    const one = pending.shift()
    if (one.apiId) {
      return one.apiId
    }
    pending.push(...one.errors ?? [])
  }
  return error.code ?? error.name
}

await serve({
  hello: () => hello('@platformatic/kafka', UNSUPPORTED),
  ...admin(connection),
  producer: openProducer,
  send,
  begin: async ({ producer: name }) => {
    const made = producers.find(name)
    made.transaction = await made.producer.beginTransaction()
  },
  commit_transaction: ({ producer }) => end(producer, 'commit'),
  abort: ({ producer }) => end(producer, 'abort'),
  send_offsets: sendOffsets,
  close_producer: ({ producer }) => producers.take(producer).producer.close(),
  consumer: async ({ name, ...request }) => {
    consumers.set(name, await GroupConsumer.open(connection(request), request))
  },
  poll: ({ consumer, count, timeout_ms: timeoutMs }) => consumers.find(consumer).poll(count, timeoutMs),
  seek_to_time: ({ consumer, topic, partition, timestamp_ms: timestampMs }) =>
    consumers.find(consumer).seekToTime(topic, partition, timestampMs),
  commit: ({ consumer }) => consumers.find(consumer).commit(),
  close_consumer: ({ consumer }) => consumers.take(consumer).close()
}, nameOf)
await Promise.all([...consumers.values()].map(consumer => consumer.close()))
await Promise.all([...producers.values()].map(({ producer }) => producer.close()))
