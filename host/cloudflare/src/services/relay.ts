// Calls that are passed on to another server, as the guest decides on them
// (`wit/relay.wit`).

import type { BodyFault, Reading, Step } from '../../generated/plain/interfaces/syncline-backend-relay.js'
import type { Head, Relay } from '../../generated/plain/interfaces/syncline-backend-services.js'
import { Bodies, type Held as Counted } from '../bodies.js'
import type { GuestResponse } from '../gateway.js'
import { beginningOf, Busy, discard, joined, TooSlow } from './body.js'
import { answer, type Exchange, failed } from './exchange.js'
import { Held } from './held.js'
import { passing } from './passing.js'
import { Places } from './places.js'
import { Gone, Upstream } from './upstream.js'

/** Calls under way in this isolate: one more is told to come back. */
const RELAYS_MAX = 100

/** How long nothing may be heard of one that still counts, in milliseconds. */
const UNUSED_MS_MAX = 600_000

/** What clients' bodies may take until the upstream has answered, in bytes.
 * Apart from sync's, so that none of those waits for another server; few,
 * since the guest needs some times as much to read one. */
const BODIES_BYTES_MAX = 8 * 1024 * 1024

/** What answers that are read whole may take, in bytes. */
const ANSWERS_BYTES_MAX = 16 * 1024 * 1024

const relays = new Places(RELAYS_MAX, UNUSED_MS_MAX)
const bodies = new Bodies(BODIES_BYTES_MAX)
const answers = new Bodies(ANSWERS_BYTES_MAX)

/** Passes a call on. */
export async function relay(exchange: Exchange, service: Relay): Promise<Response> {
  const { context, headers, bodyBytesMax } = service
  const { request, gateway } = exchange
  const place = relays.take()
  const held = new Held(gateway, place)
  // What it holds is given back when its client has gone, too.
  exchange.waitUntil(held.over)
  const counted = bodies.begin(crypto.randomUUID())
  try {
    const body = place ? await bodyOf(request, bodyBytesMax + 1, counted) : await unread(request)
    const step = await gateway.call(({ relay }) => relay.begin(context, body))
    const outcome = await run(held, step, request.signal)
    if (outcome instanceof Passing) return new Response(passing(held, outcome.upstream, request.signal), outcome.head)
    held.isOver()
    return answer(exchange, outcome)
  } catch (error) {
    await held.end(error instanceof Gone ? 'gone' : 'broken')
    return failed('a relay', error, headers)
  } finally {
    counted.end()
  }
}

/** A request's body, or why there is none. */
type Body = { tag: 'ok'; val: Uint8Array } | { tag: 'err'; val: BodyFault }

async function bodyOf(request: Request, bytesMax: number, counted: Counted): Promise<Body> {
  try {
    return { tag: 'ok', val: await beginningOf(request, bytesMax, counted) }
  } catch (error) {
    if (error instanceof TooSlow) return { tag: 'err', val: 'too-slow' }
    return { tag: 'err', val: error instanceof Busy ? 'busy' : 'broken' }
  }
}

/** One for which there is no place. */
async function unread(request: Request): Promise<Body> {
  await discard(request)
  return { tag: 'err', val: 'busy' }
}

/** An answer that is to be passed on. */
class Passing {
  constructor(
    readonly head: Head,
    readonly upstream: Upstream,
  ) {}
}

/** Does what the guest says until there is an answer. Throws {@link Gone}. */
async function run(held: Held, begun: Step, gone: AbortSignal): Promise<GuestResponse | Passing> {
  let step: Step | Extract<Reading, { tag: 'wait' }> = begun
  for (;;) {
    if (step.tag === 'respond') return step.val
    held.keep(step.val.context)
    if (step.tag === 'wait') {
      await pause(step.val.afterMs, gone)
      step = await held.next((relay, context) => relay.again(context))
      continue
    }
    const upstream = await Upstream.call(step.val, gone)
    if (typeof upstream === 'string') {
      step = await held.next((relay, context) => relay.failed(context, upstream))
      continue
    }
    const { status, headers } = upstream
    const reading = await held.next((relay, context) => relay.headArrived(context, status, headers))
    switch (reading.tag) {
      case 'stream':
        held.keep(reading.val.context)
        return new Passing(reading.val.head, upstream)
      case 'collect': {
        held.keep(reading.val.context)
        const body = await collect(upstream, reading.val.bytesMax)
        if (gone.aborted) throw new Gone()
        return held.next((relay, context) => relay.answer(context, body))
      }
      case 'wait':
      case 'respond':
        upstream.cancel()
        step = reading
    }
  }
}

/** As long as the guest wants to wait. Throws {@link Gone}. */
async function pause(ms: number, gone: AbortSignal): Promise<void> {
  try {
    await scheduler.wait(ms, { signal: gone })
  } catch {
    throw new Gone()
  }
}

/** Reads an answer to its end; nothing if it breaks off, is silent for too
 * long, is larger than it may be, or finds no memory. */
async function collect(upstream: Upstream, bytesMax: number): Promise<Uint8Array | undefined> {
  const counted = answers.begin(crypto.randomUUID())
  const pieces: Uint8Array[] = []
  let left = bytesMax
  try {
    if ((upstream.bytesAnnounced ?? 0) > bytesMax) return undefined
    for (;;) {
      const piece = await upstream.piece()
      if (piece === 'ended') return joined(pieces)
      if (typeof piece === 'string' || piece.length > left || !counted.grow(piece.length)) return undefined
      left -= piece.length
      pieces.push(piece)
    }
  } finally {
    upstream.cancel()
    counted.end()
  }
}
