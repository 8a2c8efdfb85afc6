// The protocol of compat/clients/driver.py: one JSON request a line on standard input, one answer a line on standard
// output, in order.

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const FEATURES = [
  'admin', 'none', 'gzip', 'snappy', 'lz4', 'zstd', 'idempotent', 'transactions', 'exactly_once', 'eager',
  'cooperative', 'static', 'seek_by_time', 'headers', 'large_messages', 'many_partitions', 'restart', 'failover'
]

export const UNKNOWN_OFFSET = -1

/** A failure whose name the driver chose. */
export class DriverError extends Error {
  constructor (name, message) {
    super(message)
    this.name = name
  }
}

/** The answer to hello. `unsupported` gives a reason for each feature or operation that the library lacks. */
export function hello (client, unsupported) {
  const file = new URL(`./node_modules/${client}/package.json`, import.meta.url)
  const { version } = JSON.parse(readFileSync(file, 'utf8'))
  const features = FEATURES.filter(feature => !(feature in unsupported))
  return { client, version, language: 'JavaScript', features, unsupported }
}

export function say (...words) {
  console.error(...words)
}

/** Answers requests with `handlers[request.do](request)` until standard input ends; `nameOf` names the library's errors. */
export async function serve (handlers, nameOf) {
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    process.stdout.write(JSON.stringify({ id: request.id, ...await answer(request, handlers, nameOf) }) + '\n')
  }
}

async function answer (request, handlers, nameOf) {
  const handler = handlers[request.do]
  if (!handler) {
    return { error: 'NotSupported', message: `this driver has no ${request.do}` }
  }
  try {
    return { result: await handler(request) ?? {} }
  } catch (error) {
    say(error)
    const name = error instanceof DriverError ? error.name : nameOf(error)
    return { error: name, message: String(error.message) }
  }
}

/** What requests refer to by name. */
export class Named extends Map {
  find (name) {
    if (!this.has(name)) {
      throw new DriverError('BadRequest', `there is no ${name}`)
    }
    return this.get(name)
  }

  take (name) {
    const found = this.find(name)
    this.delete(name)
    return found
  }
}

export function encoded (bytes) {
  return bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString('base64')
}

export function decoded (text) {
  return text === null || text === undefined ? null : Buffer.from(text, 'base64')
}

/**
 * Where each record went, from the first offset that each partition's records got ([{topic, partition, offset}]).
 * Libraries say no more than that, so a record that named no partition is placed only where there is one it can be in.
 */
export function placed (records, bases) {
  const next = new Map(bases.map(({ topic, partition, offset }) => [`${topic}:${partition}`, Number(offset)]))
  return records.map(({ topic, partition }) => {
    const ofTopic = bases.filter(base => base.topic === topic)
    const number = partition ?? (ofTopic.length === 1 ? ofTopic[0].partition : UNKNOWN_OFFSET)
    const offset = next.get(`${topic}:${number}`)
    if (offset === undefined || offset < 0) {
      return { partition: number, offset: UNKNOWN_OFFSET }
    }
    next.set(`${topic}:${number}`, offset + 1)
    return { partition: number, offset }
  })
}
