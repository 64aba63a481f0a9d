// An upstream's answer on its way to the client: each piece is read when the
// one before it was taken.

import { write } from '../telemetry/lines.js'
import type { Held } from './held.js'
import type { Upstream } from './upstream.js'

/** How long a client may leave a piece where it is, in milliseconds: the
 * upstream waits meanwhile, and a place is taken. */
const TAKING_MS_MAX = 60_000

/** What the client gets. It is cut off where the guest fails, so that nobody
 * takes it for the whole. */
export function passing(held: Held, upstream: Upstream, client: AbortSignal): ReadableStream<Uint8Array> {
  let isGone = false
  let reading: Promise<Passed> | undefined
  let timer: ReturnType<typeof setTimeout> | null = null
  const read = async (): Promise<Passed> => {
    for (;;) {
      const piece = await upstream.piece()
      if (isGone) return NOBODY
      if (typeof piece === 'string') return { output: await held.end(piece), isLast: true }
      const { context, output, isLast } = await held.next((relay, context) => relay.piece(context, piece))
      if (isLast) {
        held.isOver()
        upstream.cancel()
      } else held.keep(context)
      if (isLast || output.length > 0) return { output, isLast }
    }
  }
  const gone = async () => {
    isGone = true
    clearTimeout(timer)
    upstream.cancel()
    // The guest is asked one thing at a time.
    await reading?.catch(() => undefined)
    await held.end('gone')
  }
  // The stream is cancelled too, but perhaps not before it is written to.
  client.addEventListener('abort', () => void gone())
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        clearTimeout(timer)
        try {
          reading = read()
          const { output, isLast } = await reading
          if (isGone) return
          if (output.length > 0) controller.enqueue(output)
          if (isLast) return controller.close()
        } catch (error) {
          write('error', 'relay_failed', `the gateway failed at a relay: ${String(error)}`)
          upstream.cancel()
          await held.end('broken')
          throw error
        }
        timer = setTimeout(() => {
          controller.error(new Error('the client takes nothing'))
          void gone()
        }, TAKING_MS_MAX)
      },
      cancel: gone,
    },
    { highWaterMark: 0 },
  )
}

/** What a piece became. */
interface Passed {
  output: Uint8Array
  isLast: boolean
}

/** There is nobody to tell. */
const NOBODY: Passed = { output: new Uint8Array(), isLast: true }
