// How an admission travels from the Worker to the room: in a header of a
// request that the Worker makes itself, to a host that no client can name.
// Nothing of the client's request is passed on, so nothing can be forged.

import type { Admission } from '../generated/plain/interfaces/syncline-backend-gateway.js'
import type { Peer } from './peer.js'
import { type SpanContext, spanOf, traceparentOf } from './telemetry/spans.js'

/** Reserved by RFC 2606: no route leads to it. */
const ROOM_URL = 'https://room.invalid/'

const HEADER = 'x-syncline-admission'
const PEER_HEADER = 'x-syncline-peer'
const PARENT_HEADER = 'x-syncline-parent'

/** An admitted request, for the room; `parent` is the span of those in it that
 * name none. */
export function toRoom(
  admission: Admission,
  peer: Peer,
  body: Uint8Array | undefined,
  parent: SpanContext | undefined,
): Request {
  const headers = new Headers({ [HEADER]: inHeader(admission), [PEER_HEADER]: inHeader(peer) })
  if (parent) headers.set(PARENT_HEADER, traceparentOf(parent))
  if (body) return new Request(ROOM_URL, { method: 'POST', headers, body })
  headers.set('upgrade', 'websocket')
  return new Request(ROOM_URL, { headers })
}

/** The admission of a request that the Worker made; of others none. */
export function admissionOf(request: Request): Admission | undefined {
  const header = request.headers.get(HEADER)
  if (request.url !== ROOM_URL || header === null) return undefined
  return JSON.parse(decodeURIComponent(header)) as Admission
}

/** Who sent such a request to the Worker. */
export function admittedPeerOf(request: Request): Peer {
  const header = request.headers.get(PEER_HEADER)
  return header === null ? { address: 'unknown' } : (JSON.parse(decodeURIComponent(header)) as Peer)
}

/** The span that such a request is made in. */
export function parentOf(request: Request): SpanContext | undefined {
  return spanOf(request.headers.get(PARENT_HEADER))
}

function inHeader(value: Admission | Peer): string {
  // JSON has a form for half a character; URLs have none.
  return encodeURIComponent(JSON.stringify(value))
}
