// A log in D1 (`STORAGE=d1`), many stores in one database. The context stays
// in the Durable Object's own SQLite, as upstream has it.

import { Context } from './context.js'
import {
  COLUMNS,
  createTable,
  type Event,
  type LogInfo,
  parameters,
  placeholders,
  quoted,
  READ_EVENTS_MAX,
  type Row,
  ROWS_PER_STATEMENT,
  StorageFailure,
  storageFailure,
  type StoredEvent,
  storedEvent,
  unavailable,
  upstreamTable,
} from './event-log.js'

/**
 * Text of one page, in bytes. Upstream found that D1 refuses answers of over
 * 1 MB of JSON (`src/cf-worker/do/sync-storage.ts`), and JSON may write a text
 * twice as long as it is.
 */
const PAGE_BYTES_MAX = 400_000

/** Arguments that are larger are read in pieces, of characters: a character
 * has up to four bytes. */
const PIECE_CHARS = 100_000

/** Names tried for a new log, when other objects take them first. */
const NAMES_TRIED_MAX = 8

const REGISTRY = `CREATE TABLE IF NOT EXISTS "syncline_stores" (
  "storeId" text primary key,
  "tableName" text not null unique collate nocase
) STRICT`

/** One store's log. Its methods reject with `StorageFailure`; with anything
 * else when it is not known what was stored: then the room starts again. */
export class D1Log {
  private log: { table: string; context: Context } | undefined

  constructor(
    private readonly db: D1Database,
    private readonly storage: DurableObjectStorage,
    private readonly storeId: string,
  ) {}

  async open(newBackendId: string): Promise<LogInfo> {
    return await this.checked(async () => {
      const context = new Context(this.storage, this.storeId)
      const [, ours] = await this.db.batch<{ tableName: string }>([
        this.db.prepare(REGISTRY),
        this.db.prepare(`SELECT "tableName" FROM "syncline_stores" WHERE "storeId" = ?`).bind(this.storeId),
      ])
      const name = ours?.results[0]?.tableName
      if (name !== undefined) {
        const table = quoted(name)
        const found = { place: `table ${table} in D1`, isOurs: true, head: await this.head(table) }
        const info = context.settle(found, newBackendId)
        this.log = { table, context }
        return info
      }
      return await this.claim(context, newBackendId)
    })
  }

  async append(expectedHead: bigint, batch: Event[], createdAt: string): Promise<void> {
    const last = batch.at(-1)
    if (!last) return
    const { table, context } = this.opened
    const statements = []
    for (let at = 0; at < batch.length; at += ROWS_PER_STATEMENT) {
      const rows = batch.slice(at, at + ROWS_PER_STATEMENT)
      // Only onto the head that is expected: another writer's events, or a
      // log that was emptied, leave all of the batch without effect.
      statements.push(
        this.db
          .prepare(
            `INSERT INTO ${table} (${COLUMNS}) SELECT * FROM (VALUES ${placeholders(rows.length)})
             WHERE (SELECT coalesce(max("seqNum"), 0) FROM ${table}) = ?`,
          )
          .bind(...rows.flatMap((event) => parameters(event, createdAt)), Number(rows[0]?.parentSeqNum)),
      )
    }
    let failure: unknown
    try {
      const results = await this.db.batch(statements)
      const inserted = results.reduce((sum, { meta }) => sum + meta.changes, 0)
      if (inserted === batch.length) return context.follow(Number(last.seqNum))
    } catch (error) {
      failure = error
    }
    // Nothing was stored, or the answer was lost on its way: the log knows.
    const head = await this.head(table)
    if (failure !== undefined && head === Number(last.seqNum) && (await this.holds(table, last, createdAt))) {
      return context.follow(head)
    }
    if (head !== Number(expectedHead)) throw new StorageFailure({ tag: 'conflict', val: BigInt(head) })
    throw storageFailure(failure ?? 'D1 inserted nothing, and does not say why')
  }

  async read(after: bigint, eventsMax: number, bytesMax: number): Promise<StoredEvent[]> {
    return await this.checked(async () => {
      const { table } = this.opened
      const size = ['name', 'args', 'createdAt', 'clientId', 'sessionId']
        .map((column) => `coalesce(octet_length("${column}"), 0)`)
        .join(' + ')
      // Sizes first: rows that do not fit are never read whole.
      const rows = await this.db
        .prepare(
          `WITH "sizes" AS (
             SELECT "seqNum", ${size} AS "size" FROM ${table} WHERE "seqNum" > ?1 ORDER BY "seqNum" LIMIT ?2
           ), "page" AS (
             SELECT "seqNum", sum("size") OVER (ORDER BY "seqNum") AS "total", row_number() OVER (ORDER BY "seqNum") AS "nth"
             FROM "sizes"
           )
           SELECT "seqNum", "parentSeqNum", "name",
             CASE WHEN octet_length("args") > ?3 THEN NULL ELSE "args" END,
             "createdAt", "clientId", "sessionId",
             CASE WHEN octet_length("args") > ?3 THEN length("args") END
           FROM "page" JOIN ${table} USING ("seqNum") WHERE "total" <= ?4 OR "nth" = 1 ORDER BY "seqNum"`,
        )
        .bind(Number(after), Math.min(eventsMax, READ_EVENTS_MAX), PAGE_BYTES_MAX, Math.min(bytesMax, PAGE_BYTES_MAX))
        .raw<[...Row, number | null]>()
      const events = []
      for (const [seqNum, parentSeqNum, name, args, createdAt, clientId, sessionId, chars] of rows) {
        const whole = chars !== null ? await this.largeArgs(table, seqNum, chars) : args
        events.push(storedEvent([seqNum, parentSeqNum, name, whole, createdAt, clientId, sessionId]))
      }
      return events
    })
  }

  async reset(newBackendId: string): Promise<void> {
    const { table, context } = this.opened
    // The id first: should this end in between, clients pull all of a log
    // that was not emptied, rather than keep what is not there any more.
    context.write(0, newBackendId)
    // Whether a failed one has deleted, only the log knows: an error that is
    // no StorageFailure makes the room start again.
    await this.db.prepare(`DELETE FROM ${table}`).run()
  }

  /** A turn. What D1 has stored cannot be undone: a turn that fails later
   * leaves its push stored and unanswered, as a crash would. */
  turn<T>(turn: () => T): T {
    return turn()
  }

  /** Finds a log that Syncline does not know yet, or makes one. */
  private async claim(context: Context, newBackendId: string): Promise<LogInfo> {
    const plain = upstreamTable(this.storeId)
    const before = context.names
    const upstream = await this.find(plain)
    // The object has been upstream's: its log is there and ours alone, or
    // this ends in a refusal. A log of no events may be any table's.
    if (before && !upstream.isTaken && (upstream.head !== undefined || before.head !== 0)) {
      const table = quoted(upstream.name)
      const info = context.settle({ place: `table ${table} in D1`, isOurs: false, head: upstream.head }, newBackendId)
      await this.register(upstream.name, false)
      this.log = { table, context }
      return info
    }
    const place = upstream.isTaken ? `table ${quoted(plain)} in D1, another store's,` : `table ${quoted(plain)} in D1`
    const info = context.settle({ place, isOurs: false, head: undefined }, newBackendId)
    let name = plain
    for (let tried = 0; tried < NAMES_TRIED_MAX; tried++) {
      const { head, isTaken } = tried === 0 ? upstream : await this.find(name)
      if (head === undefined && !isTaken && (await this.register(name, true))) {
        this.log = { table: quoted(name), context }
        return info
      }
      const count = await this.db.prepare(`SELECT count(*) AS "count" FROM "syncline_stores"`).first<number>('count')
      name = `${plain}__${(count ?? 0) + 1 + tried}`
    }
    throw unavailable(`no free table name was found in D1 for store ${JSON.stringify(this.storeId)}`)
  }

  /** A table by its name, whose letter case SQLite ignores. */
  private async find(name: string): Promise<{ name: string; head: number | undefined; isTaken: boolean }> {
    const [schema, registry] = await this.db.batch<{ name: string }>([
      this.db.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE`).bind(name),
      this.db.prepare(`SELECT "tableName" AS name FROM "syncline_stores" WHERE "tableName" = ?`).bind(name),
    ])
    const there = schema?.results[0]?.name
    return {
      name: there ?? name,
      head: there === undefined ? undefined : await this.head(quoted(there)),
      isTaken: (registry?.results.length ?? 0) > 0,
    }
  }

  /** Writes down whose a table is, and makes it. `false` when it is another's. */
  private async register(name: string, create: boolean): Promise<boolean> {
    const statements = [
      this.db.prepare(`INSERT INTO "syncline_stores" ("storeId", "tableName") VALUES (?, ?)`).bind(this.storeId, name),
    ]
    if (create) statements.unshift(this.db.prepare(createTable(name)))
    try {
      await this.db.batch(statements)
      return true
    } catch (error) {
      if (create && /UNIQUE|already exists/i.test(String(error))) return false
      throw error
    }
  }

  /** Reads arguments in pieces that D1 answers with. */
  private async largeArgs(table: string, seqNum: number, chars: number): Promise<string> {
    let args = ''
    for (let at = 1; at <= chars; at += PIECE_CHARS) {
      const piece = await this.db
        .prepare(`SELECT substr("args", ?, ?) AS "piece" FROM ${table} WHERE "seqNum" = ?`)
        .bind(at, PIECE_CHARS, seqNum)
        .first<string>('piece')
      args += piece ?? ''
    }
    return args
  }

  /** Whether the log's last event is the one that was just pushed. */
  private async holds(table: string, last: Event, createdAt: string): Promise<boolean> {
    const row = await this.db
      .prepare(
        `SELECT 1 FROM ${table} WHERE "seqNum" = ? AND "name" = ? AND "args" IS ? AND "clientId" = ? AND "sessionId" = ? AND "createdAt" = ?`,
      )
      .bind(Number(last.seqNum), last.name, last.args ?? null, last.clientId, last.sessionId, createdAt)
      .first()
    return row !== null
  }

  private async head(table: string): Promise<number> {
    const head = await this.db.prepare(`SELECT coalesce(max("seqNum"), 0) AS "head" FROM ${table}`).first<number>('head')
    return head ?? 0
  }

  private get opened(): { table: string; context: Context } {
    if (!this.log) throw unavailable('the log was not opened')
    return this.log
  }

  private async checked<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      throw storageFailure(error)
    }
  }
}
