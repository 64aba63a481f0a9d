// The Worker: every request is put to the gateway; what it admits goes to its
// store's room. Nothing here knows the protocol.

import type { Close, Refusal } from '../generated/plain/interfaces/syncline-backend-gateway.js'
import { toRoom } from './admission.js'
import { Bodies, type Held } from './bodies.js'
import { terms } from './component/terms.js'
import type { Env } from './configuration.js'
import { Gateway, type GuestResponse, type Verdict } from './gateway.js'
import { type Peer, peerOf, REQUEST_ID } from './peer.js'
import { refusals } from './refusals.js'
import { serve as serveService } from './services/serve.js'
import { Asked } from './telemetry/asked.js'
import { shown } from './telemetry/ids.js'
import { write } from './telemetry/lines.js'

export { WebSocketServer } from './room/room.js'
export { Quotas } from './services/quotas.js'

/** Workers' limits on a request, in bytes; `wrangler dev` has none. */
const URL_BYTES_MAX = 16 * 1024
const HEADERS_BYTES_MAX = 128 * 1024

/** A request's body: as much as a WebSocket message, in bytes. */
const BODY_BYTES_MAX = 32 * 1024 * 1024

/** How long a body may take to arrive, in milliseconds. */
const BODY_MS_MAX = 30_000

/** Bodies that this isolate keeps until their rooms have answered, in bytes. */
const bodies = new Bodies(64 * 1024 * 1024)

/** Bodies of requests that are refused: they are nobody's, so their half is
 * all that they get. */
const refusedBodies = new Bodies(32 * 1024 * 1024)

export default {
  async fetch(request, env, ctx) {
    refusals.look()
    const peer = peerOf(request)
    const asked = new Asked(env, request, ctx)
    const answer = oversized(request, peer) ?? (await asked.within(() => serve(request, peer, env, ctx, asked)))
    asked.answered(answer.status)
    return identified(answer, peer)
  },
} satisfies ExportedHandler<Env>

/** A refusal, with an id that its client can quote: the log has it, too. */
function identified(answer: Response, { requestId }: Peer): Response {
  if (answer.status < 400 || requestId === undefined) return answer
  // A room's cannot be changed.
  const copy = new Response(answer.body, answer)
  copy.headers.set(REQUEST_ID, requestId)
  // So that a website may show it.
  if (copy.headers.has('access-control-allow-origin')) copy.headers.append('access-control-expose-headers', REQUEST_ID)
  return copy
}

async function serve(request: Request, peer: Peer, env: Env, ctx: ExecutionContext, asked: Asked): Promise<Response> {
  try {
    return await decide(Gateway.of(env), request, peer, env, ctx, asked)
  } catch (error) {
    write('error', 'gateway_failed', `the gateway failed: ${String(error)}`, { request: peer.request, request_id: peer.requestId })
    asked.failed(error)
    return new Response(null, { status: 500 })
  }
}

async function decide(
  gateway: Gateway,
  request: Request,
  peer: Peer,
  env: Env,
  ctx: ExecutionContext,
  asked: Asked,
): Promise<Response> {
  const url = new URL(request.url)
  const { headersRead, bounds, faults } = terms()
  const upgrade = request.headers.get('upgrade')?.toLowerCase() === 'websocket'
  const { verdict, cause } = await gateway.admit({
    method: request.method,
    path: url.pathname,
    ...(url.search.length > 1 ? { query: url.search.slice(1) } : {}),
    headers: headersRead.flatMap((name): Array<[string, string]> => {
      const value = request.headers.get(name)
      return value === null ? [] : [[name, value]]
    }),
    upgrade,
  })
  const answer = answerOf(verdict)
  if (cause && answer !== undefined) refusals.refused(peer, cause.storeId, cause.code, answer, cause.message)
  switch (verdict.tag) {
    case 'respond':
      return respond(verdict.val)
    case 'close':
      return closed(verdict.val, peer)
    case 'refuse':
      return respond(await gateway.refuse(verdict.val, await readRefused(request, bounds.refusedBodyBytesMax)))
    case 'serve':
      asked.admitted()
      return serveService({ request, peer, env, gateway, waitUntil: (it) => ctx.waitUntil(it) }, verdict.val)
    case 'enter': {
      const admission = verdict.val
      const { storeId } = admission
      const refuse = async (refusal: Omit<Refusal, 'headers'>, body: Uint8Array) => {
        refusals.refused(peer, storeId, refusal.code, refusal.status, refusal.message)
        return respond(await gateway.refuse({ ...refusal, headers: admission.responseHeaders }, body))
      }
      const room = env.WEBSOCKET_SERVER.get(env.WEBSOCKET_SERVER.idFromName(storeId))
      if (admission.entry === 'socket') {
        try {
          asked.admitted()
          return await room.fetch(toRoom(admission, peer, undefined, asked.parent))
        } catch (error) {
          failed('an upgrade', error, storeId, peer)
          const { refusal, close } = faults.unavailable
          refusals.refused(peer, storeId, refusal.code, close.code, refusal.message)
          return closed(close, peer)
        }
      }
      const held = bodies.begin(`${storeId}\n${admission.principal}`)
      try {
        const body = await read(request, BODY_BYTES_MAX, held)
        if (!(body instanceof Uint8Array)) return await refuse(body, new Uint8Array())
        try {
          asked.admitted()
          const answered = await room.fetch(toRoom(admission, peer, body, asked.context ?? asked.parent))
          if (answered.status >= 400) refusals.refused(peer, storeId, 'BY_ROOM', answered.status, BY_ROOM)
          return answered
        } catch (error) {
          failed('a request', error, storeId, peer)
          return await refuse(faults.unavailable.refusal, body.subarray(0, bounds.refusedBodyBytesMax))
        }
      } finally {
        held.end()
      }
    }
  }
}

function failed(at: string, error: unknown, storeId: string, { requestId }: Peer): void {
  write('error', 'room_failed', `a room failed at ${at}: ${String(error)}`, { store: shown(storeId), request_id: requestId })
}

/** Why a room refuses: in the log. */
const BY_ROOM = "The store's room refuses it: its answer says why."

/** What a client is told that may not enter: an HTTP status, or a close code. */
function answerOf(verdict: Verdict): number | undefined {
  switch (verdict.tag) {
    case 'respond':
    case 'refuse':
      return verdict.val.status
    case 'close':
      return verdict.val.code
    case 'enter':
    case 'serve':
      return undefined
  }
}

const TOO_LARGE = { status: 413, code: 'BODY_TOO_LARGE', message: 'The body has more than 32 MiB.' }
const TOO_SLOW = { status: 408, code: 'BODY_TIMEOUT', message: 'The body did not arrive in 30 seconds.' }

function respond({ status, headers, body }: GuestResponse): Response {
  const hasBody = status !== 204 && status !== 304
  return new Response(hasBody ? body : null, { status, headers })
}

/** Accepts a socket only to tell why it is refused: no room is touched. */
function closed({ code, reason }: Close, { requestId }: Peer): Response {
  const { 0: client, 1: server } = new WebSocketPair()
  server.accept()
  server.close(code, reason)
  const headers: Record<string, string> = requestId === undefined ? {} : { [REQUEST_ID]: requestId }
  return new Response(null, { status: 101, webSocket: client, headers })
}

/** A body within its limits; beyond them, why it is refused. */
async function read(
  request: Request,
  bytesMax: number,
  held: Held,
): Promise<Uint8Array | Omit<Refusal, 'headers'>> {
  if (!request.body) return new Uint8Array()
  const reader = (request.body as ReadableStream<Uint8Array>).getReader()
  const refused = <T>(why: T) => {
    reader.cancel().catch(() => undefined)
    return why
  }
  const late = scheduler.wait(BODY_MS_MAX).then(() => TOO_SLOW)
  const pieces: Uint8Array[] = []
  let bytes = 0
  for (;;) {
    const next = await Promise.race([reader.read(), late])
    if (!('done' in next)) return refused(next)
    if (next.done) break
    bytes += next.value.length
    if (bytes > bytesMax) return refused(TOO_LARGE)
    if (!held.grow(next.value.length)) return refused(terms().faults.overloaded.refusal)
    pieces.push(next.value)
  }
  if (pieces.length === 1 && pieces[0]) return pieces[0]
  const all = new Uint8Array(bytes)
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}

/** A refused request's body, or nothing of it. */
async function readRefused(request: Request, bytesMax: number): Promise<Uint8Array> {
  const held = refusedBodies.begin('')
  try {
    const body = await read(request, bytesMax, held)
    return body instanceof Uint8Array ? body : new Uint8Array()
  } finally {
    held.end()
  }
}

function oversized({ url, headers }: Request, peer: Peer): Response | undefined {
  const refused = (status: number, code: string, why: string) => {
    refusals.refused(peer, undefined, code, status, why)
    return new Response(null, { status })
  }
  if (url.length > URL_BYTES_MAX) return refused(414, 'URL_TOO_LONG', 'The URL has more than 16 KiB.')
  let bytes = 0
  for (const [name, value] of headers) bytes += name.length + value.length + 4
  if (bytes <= HEADERS_BYTES_MAX) return undefined
  return refused(431, 'HEADERS_TOO_LARGE', 'The headers have more than 128 KiB.')
}
