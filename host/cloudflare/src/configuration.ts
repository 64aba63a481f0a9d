// The Worker's bindings: what the guest sees as its environment, and what the
// shim itself needs. Names as in the worker that Syncline replaces.

import type { Summary, Variable } from '../generated/plain/interfaces/syncline-backend-gateway.js'

/** The bindings of wrangler.toml. */
export interface Env {
  /** The rooms. */
  WEBSOCKET_SERVER: DurableObjectNamespace
  /** Where the logs are: `do-sqlite` (also when unset) or `d1`. */
  STORAGE?: string
  /** The database of `STORAGE=d1`. */
  DB?: D1Database
  /** Users' current workspace claims versions. */
  WORKSPACE_CLAIMS_VERSION?: KVNamespace
  /** Images, if they are stored. */
  IMAGES?: R2Bucket
  /** The app's files, if it is served. */
  ASSETS?: Fetcher
  /** What users have used of what is counted. */
  QUOTAS?: DurableObjectNamespace
  /** Metrics, if they are wanted. */
  METRICS?: AnalyticsEngineDataset
  /** Variables and secrets, and bindings of the operator's own. */
  [binding: string]: unknown
}

/** Where a deployment keeps its logs. */
export type StorageKind = 'do-sqlite' | 'd1'

/** A configuration that cannot be worked with: what to do about it. */
export class ConfigurationError extends Error {}

/** The guest's environment: of the variables and secrets those that it reads,
 * but for those that hosts set. */
export function variables(env: Env, read: Variable[]): Array<[string, string]> {
  const found: Array<[string, string]> = []
  for (const { name, help } of read) {
    const value = env[name]
    // TOML has numbers and truth values too.
    const isText = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    if (help !== undefined && isText) found.push([name, String(value)])
  }
  return found
}

/** What there is for services, for the guest, which asks for nothing else. */
export function equipment({ IMAGES, ASSETS }: Env): Array<[string, string]> {
  const found: Array<[string, string]> = []
  if (IMAGES) found.push(['HOST_IMAGES', '1'])
  if (ASSETS) found.push(['HOST_ASSETS', '1'])
  return found
}

/** What `STORAGE` asks for. */
export function storageKind(env: Env): StorageKind {
  switch (env.STORAGE ?? '') {
    case '':
    case 'do-sqlite':
      return 'do-sqlite'
    case 'd1':
      return 'd1'
    default:
      throw new ConfigurationError('STORAGE is neither `do-sqlite` nor `d1`: set it to one of the two in wrangler.toml')
  }
}

/** The database of `STORAGE=d1`. */
export function database(env: Env): D1Database {
  if (!env.DB) {
    throw new ConfigurationError(
      'STORAGE is `d1`, but the D1 binding DB is missing: create a database (`npx wrangler d1 create syncline`) and name it in wrangler.toml',
    )
  }
  return env.DB
}

/** Checks the bindings that the shim needs, by name. */
export function checkBindings(env: Env, { authRequired, quotasUsed }: Pick<Summary, 'authRequired' | 'quotasUsed'>): void {
  if (!env.WEBSOCKET_SERVER) {
    throw new ConfigurationError(
      'the Durable Object binding WEBSOCKET_SERVER is missing: name it in wrangler.toml, with class WebSocketServer',
    )
  }
  if (storageKind(env) === 'd1') database(env)
  if (authRequired && !env.WORKSPACE_CLAIMS_VERSION) {
    throw new ConfigurationError(
      'the KV binding WORKSPACE_CLAIMS_VERSION is missing: create a namespace (`npx wrangler kv namespace create WORKSPACE_CLAIMS_VERSION`) and name it in wrangler.toml',
    )
  }
  if (quotasUsed && !env.QUOTAS) {
    throw new ConfigurationError(
      'the Durable Object binding QUOTAS is missing, in which the LLM proxy counts: name it in wrangler.toml, with class Quotas and a migration',
    )
  }
}
