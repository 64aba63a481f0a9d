// Calls by other Durable Objects: MessagePack on the wire, JSON for the
// guest. Clients pack with msgpackr (`@effect/rpc`, `RpcSerialization.msgPack`),
// whose records other libraries do not read.

import { Packr, Unpackr } from 'msgpackr'

/** A call, in bytes: clients split theirs at 900,000. */
const CALL_BYTES_MAX = 32 * 1024 * 1024

/** A call's messages as JSON; `undefined` when there are none to be read. */
export function toJson(payload: unknown): Uint8Array | undefined {
  if (!(payload instanceof Uint8Array) || payload.length > CALL_BYTES_MAX) return undefined
  try {
    // A new one each time: records are the sender's, and do not carry over.
    const [messages] = new Unpackr().unpackMultiple(payload) ?? []
    return new TextEncoder().encode(JSON.stringify(messages ?? null))
  } catch {
    return undefined
  }
}

/**
 * An answer's messages, packed so that each piece can be read by itself: in
 * msgpackr's records, because the client takes plain maps for JavaScript's
 * `Map`, in which it finds nothing (tried with 0.4.0).
 */
export function fromJson(messages: string): Uint8Array {
  return new Packr().pack(JSON.parse(messages))
}
