// Who is at the other end of a connection, and what they asked for, as the log
// names them.

import { hex } from './telemetry/ids.js'

/** A client. Nothing here is believed but the address. */
export interface Peer {
  /** As Cloudflare saw it; `unknown` where nobody says. */
  address: string
  /** The website that asks, in browsers. */
  origin?: string
  /** The method and the path. Not what follows `?`: there clients have their
   * token. */
  request?: string
  /** Its request's id, as the client is told and the log has it. */
  requestId?: string
}

/** The header in which a client is told its request's id. */
export const REQUEST_ID = 'x-request-id'

/** What an id looks like. */
const ID = /^[0-9A-Za-z-]{1,64}$/

/** An Origin, in characters: browsers' are far shorter. */
const ORIGIN_CHARS_MAX = 256

/** Of a request's path, in characters: any of ours is shorter. */
const PATH_CHARS_MAX = 256

/** Who sent a request. A client cannot set `cf-connecting-ip`: Cloudflare does. */
export function peerOf({ method, url, headers }: Request): Peer {
  const address = headers.get('cf-connecting-ip') ?? 'unknown'
  const origin = headers.get('origin')
  return {
    address: address.slice(0, 64),
    ...(origin === null ? {} : { origin: origin.slice(0, ORIGIN_CHARS_MAX) }),
    request: `${method} ${new URL(url).pathname}`.slice(0, PATH_CHARS_MAX),
    requestId: requestIdOf(headers),
  }
}

/** Cloudflare's id of a request, by which its own logs have it, too; else one
 * of our own. */
function requestIdOf(headers: Headers): string {
  const ray = headers.get('cf-ray')
  return ray !== null && ID.test(ray) ? ray : hex(crypto.getRandomValues(new Uint8Array(8)))
}
