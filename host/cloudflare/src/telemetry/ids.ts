// How a store is named on spans and in log lines: by its id, or by a hash of
// it where ids are nobody else's business (`TELEMETRY_HASH_IDS=true`).

import { sha256 } from '@noble/hashes/sha2.js'

/** Of a hash, in bytes: enough to tell stores apart. */
const HASH_BYTES = 8

/** Whether ids are hashed: an isolate's variables never change. */
let areHashed = false

/** From now on ids are hashed, or not. */
export function hashAll(value: boolean): void {
  areHashed = value
}

/** A store's id as it is shown. */
export function shown(store: string): string {
  return areHashed ? hash(store) : store
}

/** The beginning of an id's SHA-256, in hexadecimal digits. By a library,
 * since the runtime's own makes who asks wait. */
function hash(id: string): string {
  return hex(sha256(new TextEncoder().encode(id)).subarray(0, HASH_BYTES))
}

/** Bytes in hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
