// Calls of another server, and what it answers, piece by piece. It is a
// stranger: it may be silent, break off, or never end.

import type { Call, Ending, Failure } from '../../generated/plain/interfaces/syncline-backend-relay.js'
import { write } from '../telemetry/lines.js'
import type { HeaderList } from './exchange.js'

/** The longest piece that the guest is shown, in bytes. */
const PIECE_BYTES_MAX = 64 * 1024

/** The client has gone: nobody waits for an answer. */
export class Gone extends Error {}

/** An answer that is arriving. */
export class Upstream {
  private readonly reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  /** What has arrived and was not asked for yet. */
  private rest: Uint8Array = new Uint8Array()
  private isCancelled = false

  private constructor(
    private readonly response: Response,
    private readonly idleMs: number,
    private readonly abort: () => void,
  ) {
    this.reader = (response.body as ReadableStream<Uint8Array> | null)?.getReader()
  }

  /** Calls, until the head of the answer is there; or why there is none.
   * Throws {@link Gone}: where the client has reset its connection. workerd
   * waits for no FIN: one that is only closed is noticed when it is written to,
   * so until then the time-out is what ends the call. */
  static async call(call: Call, gone: AbortSignal): Promise<Upstream | Failure> {
    if (gone.aborted) throw new Gone()
    const { headers, url, body } = call
    const controller = new AbortController()
    const abort = () => controller.abort()
    gone.addEventListener('abort', abort)
    let isLate = false
    // Nobody tells here when the connection is made.
    const timer = setTimeout(() => {
      isLate = true
      abort()
    }, call.headTimeoutMs)
    try {
      // A redirect's answer is shown to the guest: followed, the key would go
      // wherever the upstream says.
      const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: controller.signal })
      return new Upstream(response, call.idleTimeoutMs, abort)
    } catch (error) {
      if (gone.aborted) throw new Gone()
      if (isLate) return 'silent'
      write('warn', 'upstream_failed', `a call of the services' upstream failed: ${String(error)}`)
      return isBrokenOff(error) ? 'broken' : 'unreachable'
    } finally {
      clearTimeout(timer)
    }
  }

  get status(): number {
    return this.response.status
  }

  /** Its headers, names in lower case. */
  get headers(): HeaderList {
    return [...this.response.headers]
  }

  /** How long its body is, in bytes, if it says so. */
  get bytesAnnounced(): number | undefined {
    const length = this.response.headers.get('content-length')
    return length === null ? undefined : Number(length)
  }

  /** What comes next of its body, or how it has ended. */
  async piece(): Promise<Uint8Array | Exclude<Ending, 'gone'>> {
    let timer: ReturnType<typeof setTimeout> | null = null
    const stalled = new Promise<'stalled'>((resolve) => {
      timer = setTimeout(() => resolve('stalled'), this.idleMs)
    })
    try {
      while (this.rest.length === 0) {
        const next = await Promise.race([this.reader?.read(), stalled])
        if (next === 'stalled') {
          this.cancel()
          return next
        }
        if (!next || next.done) return 'ended'
        this.rest = next.value
      }
    } catch (error) {
      if (!this.isCancelled) write('warn', 'upstream_failed', `an answer of the services' upstream broke off: ${String(error)}`)
      return 'broken'
    } finally {
      clearTimeout(timer)
    }
    const piece = this.rest.subarray(0, PIECE_BYTES_MAX)
    this.rest = this.rest.subarray(piece.length)
    return piece
  }

  /** Ends the call. */
  cancel(): void {
    this.isCancelled = true
    this.abort()
    this.reader?.cancel().catch(() => undefined)
  }
}

/** Whether there was a connection. */
function isBrokenOff(error: unknown): boolean {
  return error instanceof Error && error.message.includes('connection lost')
}
