// A consumer of kafkajs, which calls back with each message.

import { Inbox } from './inbox.mjs'
import { encoded, say, UNKNOWN_OFFSET } from './lines.mjs'

const HEARTBEAT_MS = 1_000

export class GroupConsumer {
  #kafka
  #consumer
  #heartbeatMs
  #inbox = new Inbox()
  #assignment = []
  // Where each partition goes on after what polls have returned.
  #next = new Map()

  constructor (kafka, consumer, { group, heartbeat_interval_ms: heartbeatMs }) {
    this.#kafka = kafka
    this.#consumer = consumer
    this.#heartbeatMs = heartbeatMs ?? HEARTBEAT_MS
    this.group = group
  }

  /** Resolves once it has joined its group. */
  static async open (kafka, request) {
    const { group, topics, isolation, fetch_bytes_max: bytesMax } = request
    const settings = { groupId: group, readUncommitted: isolation === 'read_uncommitted' }
    if (bytesMax) {
      Object.assign(settings, { maxBytes: bytesMax, maxBytesPerPartition: bytesMax })
    }
    if (request.session_timeout_ms) {
      settings.sessionTimeout = request.session_timeout_ms
    }
    if (request.heartbeat_interval_ms) {
      settings.heartbeatInterval = request.heartbeat_interval_ms
    }
    const consumer = kafka.consumer(settings)
    const made = new GroupConsumer(kafka, consumer, request)
    made.#listen()
    await consumer.connect()
    await consumer.subscribe({ topics, fromBeginning: true })
    await consumer.run({ autoCommit: false, eachMessage: message => made.#take(message) })
    return made
  }

  #listen () {
    const { GROUP_JOIN, REBALANCING, CRASH } = this.#consumer.events
    this.#consumer.on(GROUP_JOIN, ({ payload }) => {
      this.#next.clear()
      this.#assignment = Object.entries(payload.memberAssignment)
        .flatMap(([topic, partitions]) => partitions.map(partition => [topic, partition]))
    })
    this.#consumer.on(REBALANCING, () => {
      this.#assignment = []
    })
    this.#consumer.on(CRASH, ({ payload }) => say('crashed', payload.error))
  }

  /** One message: returns once a poll has it, and keeps the membership until then. */
  async #take ({ topic, partition, message, heartbeat }) {
    const offered = this.#inbox.offer({ topic, partition, message })
    let timer
    const beating = new Promise((resolve, reject) => {
      timer = setInterval(() => heartbeat().catch(reject), this.#heartbeatMs)
    })
    try {
      await Promise.race([offered, beating])
    } catch (error) {
      // A rebalance: what has not been taken will be read again.
      this.#inbox.drop(record => record.message === message)
      throw error
    } finally {
      clearInterval(timer)
    }
  }

  async poll (count, timeoutMs) {
    const records = await this.#inbox.poll(count, timeoutMs)
    for (const { topic, partition, message } of records) {
      this.#next.set(`${topic}:${partition}`, { topic, partition, offset: String(BigInt(message.offset) + 1n) })
    }
    return { records: records.map(recordOf), assignment: this.#assignment }
  }

  async commit () {
    await this.#consumer.commitOffsets([...this.#next.values()])
  }

  async seekToTime (topic, partition, timestampMs) {
    const admin = this.#kafka.admin()
    await admin.connect()
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, timestampMs)
    const ends = await admin.fetchTopicOffsets(topic)
    await admin.disconnect()
    const { offset } = found.find(one => one.partition === partition)
    this.#inbox.drop(record => record.topic === topic && record.partition === partition)
    this.#consumer.seek({ topic, partition, offset })
    // Where there is no such record, the library answers with the end.
    const { high } = ends.find(one => one.partition === partition)
    return { offset: BigInt(offset) < BigInt(high) ? Number(offset) : UNKNOWN_OFFSET }
  }

  async close () {
    this.#inbox.close()
    await this.#consumer.disconnect()
  }
}

function recordOf ({ topic, partition, message }) {
  // The library keeps headers by name, and several of one name in a list.
  const headers = Object.entries(message.headers ?? {})
    .flatMap(([name, values]) => [values].flat().map(value => [name, encoded(value)]))
  return {
    topic,
    partition,
    offset: Number(message.offset),
    key: encoded(message.key),
    value: encoded(message.value),
    headers,
    timestamp_ms: Number(message.timestamp)
  }
}
