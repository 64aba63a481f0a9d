// A request to a service, and how it is answered: what the guest says, and who
// is told of it.

import type { Response as GuestResponse } from '../../generated/plain/interfaces/syncline-backend-gateway.js'
import { terms } from '../component/terms.js'
import type { Env } from '../configuration.js'
import type { Gateway } from '../gateway.js'
import type { Peer } from '../peer.js'
import { refusals } from '../refusals.js'

/** Headers, as the guest has them. */
export type HeaderList = Array<[string, string]>

/** A request to a service. */
export interface Exchange {
  request: Request
  peer: Peer
  env: Env
  gateway: Gateway
  /** Keeps the request's code at work when its client has gone. */
  waitUntil(promise: Promise<unknown>): void
}

/** What there is no body for: `Response` takes none. */
const BODILESS = [204, 304]

/** The guest's answer, which is in the log if it refuses something. */
export function answer({ peer }: Exchange, response: GuestResponse): Response {
  const { status, body } = response
  if (status >= 400) {
    const { code, why } = told(body)
    refusals.refused(peer, undefined, code, status, why)
  }
  return respond(response)
}

function respond({ status, headers, body }: GuestResponse): Response {
  return new Response(BODILESS.includes(status) ? null : body, { status, headers })
}

/** There is no room for a call. */
export async function overloaded({ peer, gateway }: Exchange, headers: HeaderList): Promise<Response> {
  const { refusal } = terms().faults.overloaded
  refusals.refused(peer, undefined, refusal.code, refusal.status, refusal.message)
  const wait: HeaderList =
    refusal.retryAfterMs === undefined ? [] : [['retry-after', String(Math.ceil(Number(refusal.retryAfterMs) / 1000))]]
  return respond(await gateway.refuse({ ...refusal, headers: [...headers, ...wait] }, new Uint8Array()))
}

/** The guest, or what there is for it, failed. */
export function failed(doing: string, error: unknown, headers: HeaderList): Response {
  console.error(`the gateway failed at ${doing}: ${String(error)}`)
  return new Response(null, { status: 500, headers })
}

/** A refusal's code and words, in either of the forms that the guest has for
 * services' clients. For the log only. */
function told(body: string): { code: string; why: string } {
  try {
    const { error, code } = JSON.parse(body)
    if (typeof error === 'string' && typeof code === 'string') return { code, why: error }
    if (typeof error.message === 'string' && typeof error.code === 'string') return { code: error.code, why: error.message }
  } catch {
    // It is no error's form.
  }
  return { code: 'BY_SERVICE', why: 'The service refuses it: its answer says why.' }
}
