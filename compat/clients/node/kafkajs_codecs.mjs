// The codecs that kafkajs leaves to its users, none of them with native code.

import { Zstd } from '@hpcc-js/wasm-zstd'
import { lz4Compress, lz4Decompress } from '@platformatic/wasm-utils'
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'

const { CompressionCodecs, CompressionTypes } = kafkajs

export async function addCodecs () {
  const zstd = await Zstd.load()
  CompressionCodecs[CompressionTypes.Snappy] = snappy
  CompressionCodecs[CompressionTypes.LZ4] = codec(lz4Compress, lz4Decompress)
  CompressionCodecs[CompressionTypes.ZSTD] = codec(bytes => zstd.compress(bytes), bytes => zstd.decompress(bytes))
}

/** A codec in the form that kafkajs asks for: it is given an encoder to compress, and bytes to decompress. */
function codec (compress, decompress) {
  return () => ({
    compress: async encoder => Buffer.from(compress(encoder.buffer)),
    decompress: async bytes => Buffer.from(decompress(bytes))
  })
}
