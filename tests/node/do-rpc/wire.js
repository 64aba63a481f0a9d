// What goes through `stub.rpc`: packing, reading, and the transcript of it.
import { Packr, Unpackr } from 'msgpackr'

const hex = (bytes) => Buffer.from(bytes).toString('hex')

/** Packed as @effect/rpc packs (with msgpackr's records), or as plain MessagePack maps. */
export const pack = (value, { records = true } = {}) => {
  // A copy: msgpackr hands out a view of a large buffer that it goes on using.
  return Uint8Array.from(new Packr({ useRecords: records }).pack(value))
}

/**
 * Reads the pieces of one call for a transcript. A stream arrives cut anywhere:
 * messages stand with the piece that completes them. Each try has a new reader,
 * so that values which need what earlier ones have defined would be seen.
 */
const reader = () => {
  let rest = new Uint8Array(0)
  return (bytes) => {
    // `hex` is left out where nobody would read it.
    const entry = { bytes: bytes.length, ...(bytes.length <= 1500 ? { hex: hex(bytes) } : {}) }
    const all = Buffer.concat([rest, bytes])
    try {
      const values = new Unpackr({ useRecords: true }).unpackMultiple(all)
      rest = new Uint8Array(0)
      // A value is a message or a list of messages.
      return { ...entry, messages: values.flat(1) }
    } catch (error) {
      if (!error.incomplete) return { ...entry, undecodable: String(error) }
      rest = all.subarray(error.lastPosition)
      return { ...entry, messages: (error.values ?? []).flat(1), incomplete: true }
    }
  }
}

/** The one message of a callback that is bytes. */
export const unpacked = (bytes) => {
  const { messages, ...entry } = reader()(bytes)
  return { ...entry, json: messages?.[0] }
}

// One list for all objects: they share the isolate, and the order across them
// is what a transcript is about.
const transcript = []
let began = 0
let recording = false

/** Begins a new transcript; until then nothing is kept. */
export const record = () => {
  recording = true
  began = Date.now()
  transcript.length = 0
}
export const transcribed = () => transcript

export const put = (entry) => {
  if (recording) transcript.push({ t: Date.now() - began, ...entry })
}

let calls = 0

/** `stub`, its calls written down. Handed on are the bytes themselves, piece by piece. */
export const recorded = (stub, object) => ({
  rpc: async (payload) => {
    // Without a transcript the client gets the stub's own answers.
    if (!recording) return stub.rpc(payload)
    const call = ++calls
    put({ kind: 'rpc-req', object, call, ...reader()(payload) })
    const read = reader()
    const answer = await stub.rpc(payload).catch((error) => {
      put({ kind: 'rpc-threw', object, call, error: String(error) })
      throw error
    })
    if (!(answer instanceof ReadableStream)) {
      put({ kind: 'rpc-res', object, call, stream: false, ...read(answer) })
      return answer
    }
    return answer.pipeThrough(
      new TransformStream({
        transform: (bytes, out) => {
          put({ kind: 'rpc-res', object, call, stream: true, ...read(bytes) })
          out.enqueue(bytes)
        },
        flush: () => put({ kind: 'rpc-res', object, call, stream: true, end: true }),
      }),
    )
  },
})

/** Sends bytes and reads the answer to its end: `{stream, pieces}` or `{threw}`. */
export const callRaw = async (stub, bytes) => {
  try {
    const answer = await stub.rpc(bytes)
    if (!(answer instanceof ReadableStream)) return { stream: false, pieces: [reader()(answer)] }
    const pieces = []
    const read = reader()
    for await (const bytes of answer) pieces.push(read(bytes))
    return { stream: true, pieces }
  } catch (error) {
    return { threw: String(error) }
  }
}
