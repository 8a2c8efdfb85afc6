// A consumer of @platformatic/kafka, which gives a stream of messages.

import { setTimeout as wait } from 'node:timers/promises'

import {
  Consumer, FetchIsolationLevels, ListOffsetTimestamps, MessagesStreamFallbackModes, MessagesStreamModes
} from '@platformatic/kafka'

import { Inbox } from './inbox.mjs'
import { encoded, say, UNKNOWN_OFFSET } from './lines.mjs'

const AGAIN_MS = 1_000

export class GroupConsumer {
  #topics
  #inbox = new Inbox()
  #stream = null
  #reading = Promise.resolve()
  #closed = false
  // What polls have returned last of each partition; those of `#uncommitted` for the next commit.
  #last = new Map()
  #uncommitted = new Map()

  constructor (consumer, topics) {
    this.consumer = consumer
    this.#topics = topics
  }

  /** Resolves once it has joined its group. */
  static async open (connection, request) {
    const { group, topics, isolation, fetch_bytes_max: bytesMax } = request
    const settings = { ...connection, groupId: group, autocommit: false }
    if (isolation) {
      settings.isolationLevel = FetchIsolationLevels[isolation.toUpperCase()]
    }
    if (bytesMax) {
      settings.maxBytes = bytesMax
    }
    if (request.session_timeout_ms) {
      settings.sessionTimeout = request.session_timeout_ms
    }
    if (request.heartbeat_interval_ms) {
      settings.heartbeatInterval = request.heartbeat_interval_ms
    }
    const made = new GroupConsumer(new Consumer(settings), topics)
    made.consumer.on('error', error => say('consumer', error))
    await made.#consume()
    return made
  }

  /** Begin at the committed offsets, or at `offsets`. */
  async #consume (offsets = undefined) {
    const mode = offsets ? MessagesStreamModes.MANUAL : MessagesStreamModes.COMMITTED
    const options = { topics: this.#topics, mode, fallbackMode: MessagesStreamFallbackModes.EARLIEST }
    this.#stream = await this.consumer.consume(offsets ? { ...options, offsets } : options)
    this.#reading = this.#read(this.#stream)
  }

  async #read (stream) {
    try {
      for await (const message of stream) {
        // A stream that is being closed is read to its end.
        if (stream === this.#stream) {
          await this.#inbox.offer(message)
        }
      }
    } catch (error) {
      say('stream', error)
    }
    // A stream ends with the first error that the library's retries do not get over; what follows begins anew.
    while (!this.#closed && stream === this.#stream) {
      await wait(AGAIN_MS)
      try {
        return await this.#consume()
      } catch (error) {
        say('consume', error)
      }
    }
  }

  async poll (count, timeoutMs) {
    const messages = await this.#inbox.poll(count, timeoutMs)
    for (const message of messages) {
      const key = `${message.topic}:${message.partition}`
      this.#last.set(key, message)
      this.#uncommitted.set(key, message)
    }
    const assignment = (this.consumer.assignments ?? [])
      .flatMap(({ topic, partitions }) => partitions.map(partition => [topic, partition]))
    return { records: messages.map(recordOf), assignment }
  }

  async commit () {
    for (const [key, message] of this.#uncommitted) {
      await message.commit()
      this.#uncommitted.delete(key)
    }
  }

  lastOf (topic, partition) {
    return this.#last.get(`${topic}:${partition}`)
  }

  /** A stream cannot move: another one begins at the new place. */
  async seekToTime (topic, partition, timestampMs) {
    const place = async timestamp => {
      const found = await this.consumer.listOffsetsWithTimestamps({ topics: [topic], partitions: { [topic]: [partition] }, timestamp })
      return found.get(topic).get(partition).offset
    }
    const offset = await place(BigInt(timestampMs))
    const start = offset < 0n ? await place(ListOffsetTimestamps.LATEST) : offset
    await this.#stopReading()
    await this.#consume([{ topic, partition, offset: start }])
    return { offset: offset < 0n ? UNKNOWN_OFFSET : Number(offset) }
  }

  async #stopReading () {
    const stream = this.#stream
    this.#stream = null
    this.#inbox.drop()
    await stream.close()
    await this.#reading
  }

  async close () {
    this.#closed = true
    this.#inbox.close()
    await this.consumer.close(true)
  }
}

function recordOf ({ topic, partition, offset, key, value, headers, timestamp }) {
  return {
    topic,
    partition,
    offset: Number(offset),
    key: encoded(key),
    value: encoded(value),
    headers: [...headers].map(([name, bytes]) => [name.toString(), encoded(bytes)]),
    timestamp_ms: Number(timestamp)
  }
}
