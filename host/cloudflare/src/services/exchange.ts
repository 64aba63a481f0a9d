// A request to a service, and how it is answered: what the guest says, and who
// is told of it.

import type { Response as GuestResponse } from '../../generated/plain/interfaces/syncline-backend-gateway.js'
import type { Env } from '../configuration.js'
import type { Gateway } from '../gateway.js'
import type { Peer } from '../peer.js'
import { refusals } from '../refusals.js'
import { write } from '../telemetry/lines.js'

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
export function answer({ peer }: Exchange, { status, headers, body }: GuestResponse): Response {
  if (status >= 400) {
    const { code, why } = told(body)
    refusals.refused(peer, undefined, code, status, why)
  }
  return new Response(BODILESS.includes(status) ? null : body, { status, headers })
}

/** The guest, or what there is for it, failed. */
export function failed(doing: string, error: unknown, headers: HeaderList): Response {
  write('error', 'gateway_failed', `the gateway failed at ${doing}: ${String(error)}`)
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
