// Answers of many pages, and how it is known that a caller has taken one.

import type { Answer, Page } from '../generated/plain/interfaces/syncline-backend-room.js'

/** An answer's body, page by page: the next is asked for when one was taken. */
export function pages(
  { first }: Answer,
  encode: (page: string) => Uint8Array,
  next: (continuation: string) => Page | Promise<Page>,
  ended: (bytes: number) => void = () => {},
): ReadableStream<Uint8Array> {
  let page: Page | undefined = first
  let bytes = 0
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        if (!page) {
          controller.close()
          return ended(bytes)
        }
        controller.enqueue(encode(page.body))
        bytes += page.body.length
        const { continuation } = page
        page = undefined
        if (continuation === undefined) return
        try {
          page = await next(continuation)
        } catch (error) {
          // The body is cut off, so that nobody takes it for the whole.
          ended(bytes)
          throw error
        }
      },
      cancel: () => ended(bytes),
    },
    { highWaterMark: 0 },
  )
}

/**
 * How long a caller is left alone with the answer to its Pull, in
 * milliseconds, before it is called itself. 0.4.0 passes over a call that
 * comes before it has taken in all of the answer, and nobody sees that it did:
 * its log has a gap for ever (tried with 0.4.0). It takes in about an event a
 * millisecond, of 200 bytes each; what comes later costs nothing but time.
 */
const SETTLING_MS = 500
const SETTLING_MS_PER_KIB = 10
const SETTLING_MS_MAX = 10_000

/** The answer to a call, on its way. */
export class CallAnswer {
  /** Over when its caller may be called. */
  readonly settled: Promise<void>
  /** All of it has left, so many bytes. */
  readonly ended: (bytes: number) => void

  constructor(storage: DurableObjectStorage) {
    const { promise, resolve } = Promise.withResolvers<number>()
    this.ended = resolve
    this.settled = promise.then(async (bytes) => {
      // It leaves when what was written for it is durable.
      await storage.sync()
      await scheduler.wait(Math.min(SETTLING_MS + (bytes / 1024) * SETTLING_MS_PER_KIB, SETTLING_MS_MAX))
    })
  }
}
