// Answers of many pages, and how it is known that a caller has taken one.

import type { Answer, Page } from '../../generated/plain/interfaces/syncline-backend-room.js'

/**
 * Pages of one room that their callers have not taken yet, in bytes: part of
 * an isolate's 128 MB. Beyond it the answer whose page has waited longest is
 * cut off: its client asks again, from where it was.
 */
const UNTAKEN_BYTES_MAX = 32 * 1024 * 1024

/** An answer under way. */
interface Answering {
  /** What is in memory of it, in bytes. */
  bytes: number
  cut(): void
}

/** The pages of one room that wait for their callers. */
export class Untaken {
  /** Those that wait longest come first. */
  private readonly waiting = new Set<Answering>()
  private bytes = 0

  /** A page waits. */
  put(answer: Answering): void {
    this.waiting.add(answer)
    this.bytes += answer.bytes
    for (const longest of this.waiting) {
      if (this.bytes <= UNTAKEN_BYTES_MAX || longest === answer) return
      this.taken(longest)
      longest.cut()
    }
  }

  /** It waits no more. */
  taken(answer: Answering): void {
    if (this.waiting.delete(answer)) this.bytes -= answer.bytes
  }
}

/** An answer's body, page by page: the next is asked for when one was taken. */
export function pages(
  { first }: Answer,
  untaken: Untaken,
  encode: (page: string) => Uint8Array,
  next: (continuation: string) => Page | Promise<Page>,
  ended: (bytes: number) => void = () => {},
): ReadableStream<Uint8Array> {
  let page: Page | undefined = first
  let continuation: string | undefined
  let bytes = 0
  const answer: Answering = { bytes: 0, cut() {} }
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) => {
        answer.cut = () => {
          controller.error(new Error('too much waits for callers, and this one has not taken its page for longest'))
          ended(bytes)
        }
      },
      pull: async (controller) => {
        untaken.taken(answer)
        try {
          if (continuation !== undefined) page = await next(continuation)
        } catch (error) {
          // The body is cut off, so that nobody takes it for the whole.
          ended(bytes)
          throw error
        }
        if (!page) {
          controller.close()
          return ended(bytes)
        }
        const piece = encode(page.body)
        bytes += page.body.length
        continuation = page.continuation
        page = undefined
        controller.enqueue(piece)
        answer.bytes = piece.length
        untaken.put(answer)
      },
      cancel: () => {
        untaken.taken(answer)
        ended(bytes)
      },
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
