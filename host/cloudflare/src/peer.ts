// Who is at the other end of a connection, and what they asked for, as the log
// names them.

/** A client. Nothing here is believed but the address. */
export interface Peer {
  /** As Cloudflare saw it; `unknown` where nobody says. */
  address: string
  /** The website that asks, in browsers. */
  origin?: string
  /** The method and the path. Not what follows `?`: there clients have their
   * token. */
  request?: string
}

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
  }
}
