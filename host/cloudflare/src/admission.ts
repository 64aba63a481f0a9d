// How an admission travels from the Worker to the room: in a header of a
// request that the Worker makes itself, to a host that no client can name.
// Nothing of the client's request is passed on, so nothing can be forged.

import type { Admission } from '../generated/plain/interfaces/syncline-backend-gateway.js'

/** Reserved by RFC 2606: no route leads to it. */
const ROOM_URL = 'https://room.invalid/'

const HEADER = 'x-syncline-admission'

/** An admitted request, for the room. */
export function toRoom(admission: Admission, body: Uint8Array | undefined): Request {
  const headers = new Headers({ [HEADER]: encodeURIComponent(JSON.stringify(admission)) })
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
