// A service's request body, as it arrives.

import type { Held } from '../bodies.js'

/** How long a body may take to arrive, in milliseconds. */
const BODY_MS_MAX = 30_000

/** What is read of a body that nobody wants, in bytes: a client that is still
 * sending may not see the answer. */
const DRAINED_BYTES_MAX = 32 * 1024 * 1024

/** How much of it is in memory, in bytes. */
const DISCARDED_BYTES = 16 * 1024

/** A body that has not arrived in time. */
export class TooSlow extends Error {}

/** There is no memory for a body. */
export class Busy extends Error {}

/** A body's pieces, each counted. Whoever stops early does not read on.
 *
 * Throws {@link TooSlow}, {@link Busy}, or what ended it. */
export async function* pieces(request: Request, held: Held): AsyncGenerator<Uint8Array, void, undefined> {
  const { body } = request
  if (!body) return
  const reader = (body as ReadableStream<Uint8Array>).getReader()
  let timer: ReturnType<typeof setTimeout> | null = null
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TooSlow()), BODY_MS_MAX)
  })
  late.catch(() => undefined)
  let isOver = false
  try {
    for (;;) {
      isOver = true
      const { done, value } = await Promise.race([reader.read(), late])
      if (done) return
      isOver = false
      if (!held.grow(value.length)) {
        held.end()
        throw new Busy()
      }
      yield value
    }
  } finally {
    clearTimeout(timer)
    if (isOver) reader.cancel().catch(() => undefined)
    else {
      reader.releaseLock()
      await discard(request)
    }
  }
}

/** Reads a body that nobody wants, and keeps nothing of it. */
export async function discard({ body, headers }: Request): Promise<void> {
  if (!body) return
  // Its end would not be seen, or it never comes.
  if (Number(headers.get('content-length') ?? 0) > DRAINED_BYTES_MAX) return void body.cancel().catch(() => undefined)
  const reader = body.getReader({ mode: 'byob' })
  const timer = setTimeout(() => reader.cancel().catch(() => undefined), BODY_MS_MAX)
  try {
    // One buffer for all of it, since many may be discarded at once.
    let buffer = new Uint8Array(DISCARDED_BYTES)
    for (let bytes = 0; bytes < DRAINED_BYTES_MAX; ) {
      const { done, value } = await reader.read(buffer)
      if (done) return
      bytes += value.length
      buffer = new Uint8Array(value.buffer)
    }
  } catch {
    // It has broken off.
  } finally {
    clearTimeout(timer)
    reader.cancel().catch(() => undefined)
  }
}

/** A body, of which no more than its first bytes are read. Throws as
 * {@link pieces} does. */
export async function beginningOf(request: Request, bytesMax: number, held: Held): Promise<Uint8Array> {
  const read: Uint8Array[] = []
  let bytes = 0
  for await (const piece of pieces(request, held)) {
    const kept = piece.subarray(0, bytesMax - bytes)
    read.push(kept)
    bytes += kept.length
    if (bytes >= bytesMax) break
  }
  return joined(read)
}

/** Pieces in one. */
export function joined(pieces: Uint8Array[]): Uint8Array {
  const [first] = pieces
  if (pieces.length === 1 && first) return first
  const all = new Uint8Array(pieces.reduce((bytes, piece) => bytes + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}
