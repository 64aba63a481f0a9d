// Which table of a D1 database is whose. Upstream's names are not unique
// (`a-b` and `a_b`), so each table of a store that was pushed to has a row in
// `syncline_stores`.

import { createTable, quoted, unavailable, upstreamTable } from './event-log.js'

/** Names tried for a new log, when other stores take them first. */
const NAMES_TRIED_MAX = 8

const REGISTRY = `CREATE TABLE IF NOT EXISTS "syncline_stores" (
  "storeId" text primary key,
  "tableName" text not null unique collate nocase
) STRICT`

/** A table, as it was looked for. */
export interface Table {
  /** As the database spells it: SQLite ignores the letter case. */
  name: string
  /** Its last sequence number, 0 when it is empty; `undefined` when it is not there. */
  head: number | undefined
  /** Whether the registry has it, as some store's. */
  isTaken: boolean
}

/** One store's view of the tables. Its methods reject with what D1 reports. */
export class Tables {
  /** Upstream's name for this store's table. */
  readonly plain: string

  constructor(
    private readonly db: D1Database,
    private readonly storeId: string,
  ) {
    this.plain = upstreamTable(storeId)
  }

  /** The table that the registry has for this store. */
  async registered(): Promise<string | undefined> {
    const [, ours] = await this.db.batch<{ tableName: string }>([
      this.db.prepare(REGISTRY),
      this.db.prepare(`SELECT "tableName" FROM "syncline_stores" WHERE "storeId" = ?`).bind(this.storeId),
    ])
    return ours?.results[0]?.tableName
  }

  /** Looks for a table by its name. */
  async find(name: string): Promise<Table> {
    // Not by `sqlite_schema`, which would be read whole, and paid for.
    const [list, registry] = await this.db.batch<{ name: string }>([
      this.db.prepare(`SELECT name FROM pragma_table_list(?) WHERE schema = 'main' AND type = 'table'`).bind(name),
      this.db.prepare(`SELECT "tableName" AS name FROM "syncline_stores" WHERE "tableName" = ?`).bind(name),
    ])
    const there = list?.results[0]?.name
    return {
      name: there ?? name,
      head: there === undefined ? undefined : await this.head(quoted(there)),
      isTaken: (registry?.results.length ?? 0) > 0,
    }
  }

  /** A log's last sequence number, 0 when it is empty. */
  async head(table: string): Promise<number> {
    const head = await this.db.prepare(`SELECT coalesce(max("seqNum"), 0) AS "head" FROM ${table}`).first<number>('head')
    return head ?? 0
  }

  /** Writes down that a table is this store's. */
  registration(name: string): D1PreparedStatement {
    return this.db.prepare(`INSERT INTO "syncline_stores" ("storeId", "tableName") VALUES (?, ?)`).bind(this.storeId, name)
  }

  /** Makes a table, and writes down whose it is. Fails when it is another's. */
  creation(name: string): D1PreparedStatement[] {
    return [this.db.prepare(createTable(name)), this.registration(name)]
  }

  /** Names for a new log that nobody has now, as far as one look tells. */
  async *freeNames(): AsyncGenerator<string, never> {
    let name = this.plain
    for (let tried = 0; tried < NAMES_TRIED_MAX; tried++) {
      const { head, isTaken } = await this.find(name)
      if (head === undefined && !isTaken) yield name
      const count = await this.db.prepare(`SELECT count(*) AS "count" FROM "syncline_stores"`).first<number>('count')
      name = `${this.plain}__${(count ?? 0) + 1 + tried}`
    }
    throw unavailable(`no free table name was found in D1 for store ${JSON.stringify(this.storeId)}`)
  }
}
