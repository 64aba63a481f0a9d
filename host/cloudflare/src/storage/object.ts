// A log in its Durable Object's own SQLite (`STORAGE=do-sqlite`). It answers
// at once, so the guest runs without waiting.

import { write } from '../telemetry/lines.js'
import { Context } from './context.js'
import {
  COLUMNS,
  createTable,
  type Event,
  type LogInfo,
  parameters,
  placeholders,
  quoted,
  type Row,
  ROWS_PER_STATEMENT,
  StorageFailure,
  storageFailure,
  type StoredEvent,
  storedEvent,
  textBytes,
  unavailable,
  upstreamTable,
} from './event-log.js'

/** One store's log. Every method throws `StorageFailure`, and nothing else. */
export class ObjectLog {
  /** The log once it is open. Forgotten when a turn is undone. */
  private log: { table: string; context: Context } | undefined
  /** The head before the turn under way appended, if it has. */
  private headBefore: number | undefined

  constructor(
    private readonly storage: DurableObjectStorage,
    private readonly storeId: string,
  ) {}

  open(newBackendId: string): LogInfo {
    return this.checked(() => this.storage.transactionSync(() => this.settle(newBackendId)))
  }

  append(expectedHead: bigint, batch: Event[], createdAt: string): void {
    if (batch.length === 0) return
    this.checked(() => {
      const { table, context } = this.opened
      const head = this.head(table)
      if (head !== Number(expectedHead)) throw new StorageFailure({ tag: 'conflict', val: BigInt(head) })
      this.headBefore ??= head
      // Whole or not at all, whatever becomes of the turn (I2).
      this.storage.transactionSync(() => {
        for (let at = 0; at < batch.length; at += ROWS_PER_STATEMENT) {
          const rows = batch.slice(at, at + ROWS_PER_STATEMENT)
          this.storage.sql.exec(
            `INSERT INTO ${table} (${COLUMNS}) VALUES ${placeholders(rows.length)}`,
            ...rows.flatMap((event) => parameters(event, createdAt)),
          )
        }
        context.follow(Number(batch.at(-1)?.seqNum))
      })
    })
  }

  read(after: bigint, eventsMax: number, bytesMax: number): StoredEvent[] {
    return this.checked(() => {
      const { table } = this.opened
      const rows = this.storage.sql
        .exec(
          `SELECT ${COLUMNS} FROM ${table} WHERE "seqNum" > ? ORDER BY "seqNum" LIMIT ?`,
          Number(after),
          eventsMax,
        )
        .raw<Row>()
      const events: StoredEvent[] = []
      let bytes = 0
      // The cursor reads as it is asked: rows beyond the limit never are.
      for (const row of rows) {
        bytes += textBytes(row)
        if (bytes > bytesMax && events.length > 0) break
        events.push(storedEvent(row))
      }
      return events
    })
  }

  reset(newBackendId: string): void {
    this.checked(() => {
      const { table, context } = this.opened
      this.storage.transactionSync(() => {
        this.storage.sql.exec(`DELETE FROM ${table}`)
        context.write(0, newBackendId)
      })
    })
  }

  /**
   * A turn: what it appended is undone when it fails. By hand, since most
   * turns store nothing, and would pay for a transaction all the same. A
   * reset stays: it was asked for.
   */
  turn<T>(turn: () => T): T {
    this.headBefore = undefined
    try {
      return turn()
    } catch (error) {
      this.undo()
      throw error
    }
  }

  private undo(): void {
    const { log, headBefore } = this
    this.log = undefined
    if (!log || headBefore === undefined) return
    try {
      this.storage.transactionSync(() => {
        this.storage.sql.exec(`DELETE FROM ${log.table} WHERE "seqNum" > ?`, headBefore)
        log.context.follow(headBefore)
      })
    } catch (error) {
      // Then it is stored and was never acknowledged, as after a crash.
      write('error', 'storage_failed', `a failed turn's events cannot be taken back: ${String(error)}`)
    }
  }

  private settle(newBackendId: string): LogInfo {
    const { sql } = this.storage
    sql.exec(`CREATE TABLE IF NOT EXISTS "syncline_stores" (
      "storeId" text primary key,
      "tableName" text not null unique collate nocase
    ) STRICT`)
    const name = upstreamTable(this.storeId)
    const table = quoted(name)
    const ours = sql.exec(`SELECT "tableName" FROM "syncline_stores" WHERE "storeId" = ?`, this.storeId).toArray()
    const tables = sql.exec(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE`, name).toArray()
    const context = new Context(this.storage, this.storeId)
    const isThere = tables.length > 0
    const info = context.settle(
      { place: `table ${table} in the Durable Object`, isOurs: ours.length > 0, head: isThere ? this.head(table) : undefined },
      newBackendId,
    )
    if (!isThere) sql.exec(createTable(name))
    if (ours.length === 0) {
      sql.exec(`INSERT INTO "syncline_stores" ("storeId", "tableName") VALUES (?, ?)`, this.storeId, name)
    }
    this.log = { table, context }
    return info
  }

  private head(table: string): number {
    return Number(this.storage.sql.exec(`SELECT coalesce(max("seqNum"), 0) AS head FROM ${table}`).one().head)
  }

  private get opened(): { table: string; context: Context } {
    if (!this.log) throw unavailable('the log was not opened')
    return this.log
  }

  private checked<T>(call: () => T): T {
    try {
      return call()
    } catch (error) {
      throw storageFailure(error)
    }
  }
}
