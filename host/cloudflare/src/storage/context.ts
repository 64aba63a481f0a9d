// The object's context: which store it is, where its log ends, and the id of
// this incarnation of the log. Upstream keeps it in the object's own SQLite
// (`context_7`, `@livestore/sync-cf` 0.4.0, `src/cf-worker/do/layer.ts`), also
// when the log itself is in D1; 0.3.1 keeps `currentHead` as a key instead.
//
// The log is what counts: the context follows each commit, and one that is
// behind is repaired when a room wakes. One that is ahead followed another
// log: STORAGE was switched, or events are gone. And a log that Syncline has
// not made or taken over yet is taken over only if the context names this
// store and the log ends at its head: two stores' logs can share a name in
// one D1 database.

import { shown } from '../telemetry/ids.js'
import { type LogInfo, type StorageFailure, unavailable } from './event-log.js'

/** 0.3.1's key for the head (`src/cf-worker/durable-object.ts`). */
const LEGACY_HEAD = 'currentHead'

/** Set from when Syncline begins a log in D1 until its first push makes the
 * table: then the context alone would look like upstream's. */
const TABLELESS = 'syncline:tableless'

/** A row of `context_7`. */
interface Row {
  currentHead: number
  backendId: string
}

/** A log as storage found it. */
export interface Found {
  /** Where it is, for people: `table "eventlog_7_a" in D1`. */
  place: string
  /** Whether Syncline has made it, or taken it over. */
  isOurs: boolean
  /** Its last sequence number, 0 when it is empty; `undefined` when it is not there. */
  head: number | undefined
}

/** The context of one store's object. */
export class Context {
  constructor(
    private readonly storage: DurableObjectStorage,
    private readonly storeId: string,
  ) {
    storage.sql.exec(`CREATE TABLE IF NOT EXISTS "context_7" (
      "storeId" text primary key,
      "currentHead" integer not null,
      "backendId" text not null
    ) STRICT`)
  }

  /** Whether the object has been this store's before: then a log is due. */
  get names(): { head: number } | undefined {
    const row = this.read()
    if (row) return { head: row.currentHead }
    const head = this.legacyHead
    return head === undefined ? undefined : { head }
  }

  /** Whether Syncline has begun the log, and no table was made for it yet. */
  get isTableless(): boolean {
    return this.storage.kv.get(TABLELESS) === true
  }

  set isTableless(value: boolean) {
    if (value === this.isTableless) return
    if (value) this.storage.kv.put(TABLELESS, true)
    else this.storage.kv.delete(TABLELESS)
  }

  /** Settles what the log is, by what was found; refuses on any doubt. */
  settle(found: Found, newBackendId: string): LogInfo {
    const row = this.read()
    const head = found.head ?? 0
    if (found.isOurs) {
      if (!row) {
        throw this.refusal(`${found.place} is this store's log, but the object has no context that holds its backend id`,
          'bring back the Durable Objects that it was written with (the same Worker and class), or delete the table and its row in "syncline_stores" to begin anew')
      }
      if (row.currentHead > head) throw this.difference(found, row.currentHead, row)
    } else {
      const before = this.names
      if (!before && head !== 0) {
        throw this.refusal(`${found.place} has events, but the object has no context for this store`, 'move or rename that table')
      }
      if (before && before.head !== head) throw this.difference(found, before.head, row)
    }
    const backendId = row?.backendId ?? newBackendId
    if (row?.currentHead !== head || (this.legacyHead ?? head) !== head) this.write(head, backendId)
    return { head: BigInt(head), backendId }
  }

  /** Follows a commit. */
  follow(head: number): void {
    this.storage.sql.exec(`UPDATE "context_7" SET "currentHead" = ? WHERE "storeId" = ?`, head, this.storeId)
    // So that 0.3.1 could take over again.
    if (this.legacyHead !== undefined) this.storage.kv.put(LEGACY_HEAD, head)
  }

  /** The backend id. Only a settled context has one. */
  get backendId(): string {
    const row = this.read()
    if (!row) throw unavailable('the context is gone while the room is awake')
    return row.backendId
  }

  write(head: number, backendId: string): void {
    this.storage.sql.exec(
      `INSERT OR REPLACE INTO "context_7" ("storeId", "currentHead", "backendId") VALUES (?, ?, ?)`,
      this.storeId,
      head,
      backendId,
    )
    if (this.legacyHead !== undefined) this.storage.kv.put(LEGACY_HEAD, head)
  }

  private read(): Row | undefined {
    const rows = this.storage.sql.exec(
      `SELECT "currentHead", "backendId" FROM "context_7" WHERE "storeId" = ?`,
      this.storeId,
    )
    for (const row of rows) return { currentHead: Number(row.currentHead), backendId: String(row.backendId) }
    return undefined
  }

  private get legacyHead(): number | undefined {
    const head = this.storage.kv.get(LEGACY_HEAD)
    return typeof head === 'number' ? head : undefined
  }

  /** The log does not end where the context says. */
  private difference(found: Found, before: number, row: Row | undefined): StorageFailure {
    const head = found.head ?? 0
    const isShort = head < before
    const values = row ? `set "currentHead" to ${head}${isShort ? ' and "backendId" to a new id (clients then begin anew)' : ''}` : `insert the store's id, ${head} and a new backend id`
    const mend = `${values} in the object's "context_7" (dashboard, Data Studio)`
    return this.refusal(
      `the object's context says that the log ends at ${before}, but ${found.place} ${found.head === undefined ? 'is not there' : `ends at ${head}`}`,
      isShort
        ? `check STORAGE; if that is right, bring back the events after ${head} (D1: Time Travel), or, to go on without them, ${mend}`
        : `look at the events after ${before}: if they are this store's, ${mend}; if a push that failed has left them, delete them; if they are another store's, open that one first`,
    )
  }

  private refusal(what: string, how: string): StorageFailure {
    return unavailable(`store ${JSON.stringify(shown(this.storeId))} is not served, to lose nothing: ${what}. To resolve it, ${how}.`)
  }
}
