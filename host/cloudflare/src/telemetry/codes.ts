// The words that a metric's attribute may have: each from a set that is known,
// so that nobody makes series by making up words. The same sets as on wasmtime
// (host/wasmtime/src/telemetry/codes.rs).

/** The codes of refusals, as PROTOCOL.md lists them, and hosts' own. */
const CODES = new Set([
  'AUTH_SERVICE_ERROR',
  'BACKEND_ID_MISMATCH',
  'BAD_HANDSHAKE',
  'BAD_REQUEST',
  'BATCH_TOO_LARGE',
  'BODY_BROKEN',
  'BODY_TIMEOUT',
  'BODY_TOO_LARGE',
  'BY_ROOM',
  'BY_SERVICE',
  'CLOCK_WRONG',
  'EVENT_TOO_LARGE',
  'FILE_TOO_LARGE',
  'FORBIDDEN',
  'GRACE_PERIOD_EXPIRED',
  'HEADERS_TOO_LARGE',
  'HEAD_TIMEOUT',
  'INTERNAL',
  'INVALID_EVENTS',
  'INVALID_FILE',
  'INVALID_REQUEST',
  'MESSAGE_TIMEOUT',
  'MESSAGE_TOO_LARGE',
  'METHOD_NOT_ALLOWED',
  'MODEL_NOT_ALLOWED',
  'NEVER_PULLED',
  'NOT_FOUND',
  'NOT_UTF8',
  'NO_FILE',
  'OVERLOADED',
  'PROTOCOL_ERROR',
  'QUOTA_EXCEEDED',
  'RESET',
  'RESTART',
  'SERVER_AHEAD',
  'SILENT',
  'STORAGE_CONFLICT',
  'STORAGE_FULL',
  'STORAGE_UNAVAILABLE',
  'STORE_MISMATCH',
  'TOKEN_INVALID',
  'TOKEN_MISSING',
  'TOKEN_VERSION_STALE',
  'TOO_MANY_CONNECTIONS',
  'TOO_MANY_PULLS',
  'TOO_MANY_REQUESTS',
  'TOO_SLOW',
  'UNAVAILABLE',
  'UNKNOWN_RPC',
  'UNSUPPORTED_MEDIA_TYPE',
  'UPGRADE_REQUIRED',
  'UPLOAD_FAILED',
  'UPSTREAM_BUSY',
  'UPSTREAM_ERROR',
  'UPSTREAM_TIMEOUT',
  'UPSTREAM_UNREACHABLE',
  'URL_TOO_LONG',
  'VERSION_UNKNOWN',
])

/** What stands for all that is not known. */
export const OTHER = 'other'

/** Requests that are told apart by their path; all others are {@link OTHER}. */
const ROUTES = new Set([
  '/',
  '/healthz',
  '/readyz',
  '/websocket',
  '/api/upload-image',
  '/api/llm/chat',
  '/v1/chat/completions',
])

/** Methods that HTTP has. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])

/** Closes' codes that RFC 6455 has: clients choose theirs. */
const CLOSES = new Set([1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013])

/** A code, if it is known. */
export function code(code: string): string {
  return CODES.has(code) ? code : OTHER
}

/** A path's route. */
export function route(path: string): string {
  if (path.startsWith('/api/images/')) return '/api/images/{key}'
  return ROUTES.has(path) ? path : OTHER
}

/** A request's method, if it is one that HTTP has. */
export function method(method: string): string {
  return METHODS.has(method) ? method : '_OTHER'
}

/** A close's code, if RFC 6455 has it. */
export function close(code: number): string {
  return CLOSES.has(code) ? String(code) : OTHER
}
