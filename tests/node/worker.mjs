// kafkajs, asked by lines of JSON on stdin and answering by lines of JSON on stdout.
//
// kafkajs reads topics only through consumer groups. Where a test reads a partition without a group, its own broker
// object is asked to fetch: the same connection, protocol and decoding, without the group around it.

import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
const snappy = require('snappyjs')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')

const zstd = await new Promise((resolve) => ZstdCodec.run((zstd) => resolve(new zstd.Streaming())))

// Kafka's snappy is framed as xerial's library frames it: magic, two versions, then blocks with their lengths.
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])
function snappyCompress(buffer) {
  const block = Buffer.from(snappy.compress(buffer))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(block.length)
  return Buffer.concat([XERIAL, length, block])
}
function snappyDecompress(buffer) {
  if (!buffer.subarray(0, 8).equals(XERIAL.subarray(0, 8))) return Buffer.from(snappy.uncompress(buffer))
  const blocks = []
  for (let at = 16; at < buffer.length; ) {
    const length = buffer.readUInt32BE(at)
    blocks.push(Buffer.from(snappy.uncompress(buffer.subarray(at + 4, at + 4 + length))))
    at += 4 + length
  }
  return Buffer.concat(blocks)
}

const codec = (compress, decompress) => () => ({
  compress: async (encoder) => Buffer.from(compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(decompress(buffer)),
})
CompressionCodecs[CompressionTypes.Snappy] = codec(snappyCompress, snappyDecompress)
CompressionCodecs[CompressionTypes.LZ4] = codec(lz4.compressFrameSync, lz4.decompressFrameSync)
CompressionCodecs[CompressionTypes.ZSTD] = codec((data) => zstd.compress(data), (data) => zstd.decompress(data))

const CODECS = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }
const bytes = (text) => (text === null ? null : Buffer.from(text, 'base64'))
const text = (data) => (data === null || data === undefined ? null : Buffer.from(data).toString('base64'))

function client(request) {
  return new Kafka({ clientId: 'tests', brokers: [request.bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 3 } })
}

async function produce(request) {
  const producer = client(request).producer({ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: true })
  await producer.connect()
  try {
    const messages = request.records.map((record) => {
      const headers = {}
      for (const [name, value] of record.headers) {
        const data = bytes(value)
        headers[name] = name in headers ? [headers[name], data].flat() : data
      }
      return {
        key: bytes(record.key),
        value: bytes(record.value),
        headers,
        partition: request.partition,
        timestamp: String(record.timestamp ?? Date.now()),
      }
    })
    const [outcome] = await producer.send({ topic: request.topic, messages, acks: -1, compression: CODECS[request.codec] })
    const base = Number(outcome.baseOffset)
    return messages.map((_, index) => base + index)
  } finally {
    await producer.disconnect()
  }
}

async function consume(request) {
  const kafka = client(request)
  const createCluster = Object.getOwnPropertySymbols(kafka).find((symbol) => String(symbol).includes('createCluster'))
  const cluster = kafka[createCluster]({})
  await cluster.connect()
  try {
    await cluster.addTargetTopic(request.topic)
    const nodes = cluster.findLeaderForPartitions(request.topic, [request.partition])
    const broker = await cluster.findBroker({ nodeId: Object.keys(nodes)[0] })
    const found = []
    const end = Date.now() + request.timeout * 1000
    let fetchOffset = request.offset
    while (found.length < request.count) {
      if (Date.now() > end) throw new Error(`${found.length} of ${request.count} records after ${request.timeout} s`)
      const response = await broker.fetch({
        isolationLevel: 1,
        maxWaitTime: 100,
        minBytes: 1,
        maxBytes: 10 << 20,
        topics: [{ topic: request.topic, partitions: [{ partition: request.partition, fetchOffset, maxBytes: 10 << 20 }] }],
      })
      for (const message of response.responses[0].partitions[0].messages) {
        // A batch may begin before the offset that was asked for.
        if (Number(message.offset) < fetchOffset || found.length === request.count) continue
        fetchOffset = Number(message.offset) + 1
        const headers = Object.entries(message.headers).flatMap(([name, values]) => [values].flat().map((v) => [name, text(v)]))
        found.push({
          key: text(message.key),
          value: text(message.value),
          headers,
          timestamp: Number(message.timestamp),
          offset: Number(message.offset),
        })
      }
    }
    return found
  } finally {
    await cluster.disconnect()
  }
}

// One call of the admin client: `{"op": "admin", "method": "createTopics", "arguments": {...}}`.
async function admin(request) {
  const admin = client(request).admin()
  await admin.connect()
  try {
    const answer = await admin[request.method](...request.arguments)
    return answer ?? null
  } finally {
    await admin.disconnect()
  }
}

const operations = { produce, consume, admin }

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  let answer
  try {
    answer = { id: request.id, result: await operations[request.op](request) }
  } catch (error) {
    answer = { id: request.id, error: `${error.name}: ${error.message}` }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
process.exit(0)
