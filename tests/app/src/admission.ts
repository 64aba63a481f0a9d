// Would the server admit this session, and if not: why? LiveStore 0.4.0 does
// not tell: a socket that is refused looks to the app like one that is offline.
import type { Session } from './session'

/** What the server says of a session. */
export type Admission =
  | { state: 'admitted' }
  | { state: 'unreachable' }
  /** `code` is one of PROTOCOL.md's, `why` its text, for people. */
  | { state: 'refused'; code: string; why: string }

/** LiveStore's `syncPayload`: who asks, and for which store. Syncline needs both. */
export const syncPayload = ({ storeId, token }: Omit<Session, 'id'>) => ({
  instanceId: storeId,
  ...(token !== undefined && { authToken: token }),
})

const ANSWER_MS_MAX = 10_000

const advice: Record<string, string> = {
  TOKEN_MISSING: 'This server wants a token: sign in with one.',
  TOKEN_INVALID: 'This is no token of this server, or not a whole one.',
  TOKEN_VERSION_STALE: 'Your rights have changed since this token was made: get a new one.',
  GRACE_PERIOD_EXPIRED: 'This token has expired: get a new one.',
  FORBIDDEN: 'This token is not for this store, or this page may not connect.',
  AUTH_SERVICE_ERROR: 'The server cannot check tokens at the moment.',
}

/** Asks by HTTP, in LiveStore's own way: the answer has the code, and changes nothing. */
export const askAdmission = async (session: Omit<Session, 'id'>): Promise<Admission> => {
  const url = new URL('/', location.origin)
  url.searchParams.set('storeId', session.storeId)
  url.searchParams.set('transport', 'http')
  // Encoded twice, as LiveStore does it.
  url.searchParams.set('payload', encodeURIComponent(JSON.stringify(syncPayload(session))))
  let answer: Response
  try {
    answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"_tag":"Ping"}',
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    })
  } catch {
    return { state: 'unreachable' }
  }
  if (answer.ok) return { state: 'admitted' }
  const body: unknown = await answer.json().catch(() => undefined)
  const { code, message } = (body ?? {}) as { code?: unknown; message?: unknown }
  if (typeof code !== 'string') return { state: 'unreachable' }
  return { state: 'refused', code, why: advice[code] ?? (typeof message === 'string' ? message : 'The server refuses it.') }
}
