// A log in D1 (`STORAGE=d1`), many stores in one database. The context stays
// in the Durable Object's own SQLite, as upstream has it. A store that nobody
// has pushed to has nothing in the database: its table is made by its first
// push, in the same batch.

import { Context } from './context.js'
import { D1Reader } from './d1-reader.js'
import { Tables } from './d1-tables.js'
import {
  COLUMNS,
  type Event,
  type LogInfo,
  parameters,
  placeholders,
  quoted,
  ROWS_PER_STATEMENT,
  StorageFailure,
  storageFailure,
  type StoredEvent,
  unavailable,
} from './event-log.js'

/** An opened log. */
interface Opened {
  /** Its table, quoted; `undefined` before the first push. */
  table: string | undefined
  context: Context
}

/** One store's log. Its methods reject with `StorageFailure`; with anything
 * else when it is not known what was stored: then the room starts again. */
export class D1Log {
  private log: Opened | undefined
  private readonly tables: Tables

  constructor(
    private readonly db: D1Database,
    private readonly storage: DurableObjectStorage,
    private readonly storeId: string,
  ) {
    this.tables = new Tables(db, storeId)
  }

  async open(newBackendId: string): Promise<LogInfo> {
    return await this.checked(async () => {
      const context = new Context(this.storage, this.storeId)
      const name = await this.tables.registered()
      if (name !== undefined) {
        const table = quoted(name)
        const found = { place: `table ${table} in D1`, isOurs: true, head: await this.tables.head(table) }
        const info = context.settle(found, newBackendId)
        context.isTableless = false
        this.log = { table, context }
        return info
      }
      return await this.claim(context, newBackendId)
    })
  }

  async append(expectedHead: bigint, batch: Event[], createdAt: string): Promise<void> {
    if (batch.length === 0) return
    const { table, context } = this.opened
    const push = { expectedHead, batch, createdAt }
    if (table === undefined) return await this.appendFirst(context, push)
    const failure = await this.fails(this.inserts(table, push))
    if (failure !== undefined) await this.explain(table, push, failure)
    context.follow(last(push))
  }

  async read(after: bigint, eventsMax: number, bytesMax: number): Promise<StoredEvent[]> {
    const { table } = this.opened
    if (table === undefined) return []
    return await this.checked(() => new D1Reader(this.db, table).read(after, eventsMax, bytesMax))
  }

  async reset(newBackendId: string): Promise<void> {
    const { table, context } = this.opened
    // The id first: should this end in between, clients pull all of a log
    // that was not emptied, rather than keep what is not there any more.
    context.write(0, newBackendId)
    // Whether a failed one has deleted, only the log knows: an error that is
    // no StorageFailure makes the room start again.
    if (table !== undefined) await this.db.prepare(`DELETE FROM ${table}`).run()
  }

  /** A turn. What D1 has stored cannot be undone: a turn that fails later
   * leaves its push stored and unanswered, as a crash would. */
  turn<T>(turn: () => T): T {
    return turn()
  }

  /** Finds a log that Syncline does not know yet, or begins one. */
  private async claim(context: Context, newBackendId: string): Promise<LogInfo> {
    const { plain } = this.tables
    const before = context.names
    const upstream = await this.tables.find(plain)
    // The object has been upstream's: its log is there and ours alone, or
    // this ends in a refusal. A log of no events may be any table's; and if
    // Syncline has begun this one, whatever table is there is another's.
    const isBegun = context.isTableless && before?.head === 0
    if (before && !isBegun && !upstream.isTaken && (upstream.head !== undefined || before.head !== 0)) {
      const table = quoted(upstream.name)
      const info = context.settle({ place: `table ${table} in D1`, isOurs: false, head: upstream.head }, newBackendId)
      await this.tables.registration(upstream.name).run()
      this.log = { table, context }
      return info
    }
    const place = upstream.isTaken ? `table ${quoted(plain)} in D1, another store's,` : `table ${quoted(plain)} in D1`
    const info = context.settle({ place, isOurs: false, head: undefined }, newBackendId)
    context.isTableless = true
    this.log = { table: undefined, context }
    return info
  }

  /** Appends a log's first events: with them come its table and its name. */
  private async appendFirst(context: Context, push: Push): Promise<void> {
    if (push.expectedHead !== 0n) throw new StorageFailure({ tag: 'conflict', val: 0n })
    const names = this.tables.freeNames()
    for (;;) {
      const { value: name } = await this.checked(() => names.next())
      const failure = await this.fails([...this.tables.creation(name), ...this.inserts(quoted(name), push)])
      // If it failed, nothing was stored, or the answer was lost on its way.
      const ours = failure === undefined ? name : await this.tables.registered()
      if (ours === undefined) {
        if (/UNIQUE|already exists/i.test(String(failure))) continue
        throw storageFailure(failure)
      }
      const table = quoted(ours)
      this.log = { table, context }
      context.isTableless = false
      if (failure !== undefined) await this.explain(table, push, failure)
      return context.follow(last(push))
    }
  }

  /** The statements of a push. D1 runs them as one transaction. */
  private inserts(table: string, { expectedHead, batch, createdAt }: Push): D1PreparedStatement[] {
    const statements = []
    for (let at = 0; at < batch.length; at += ROWS_PER_STATEMENT) {
      const rows = batch.slice(at, at + ROWS_PER_STATEMENT)
      const values = rows.flatMap((event) => parameters(event, createdAt))
      const insert = `INSERT INTO ${table} (${COLUMNS})`
      if (at > 0) {
        statements.push(this.db.prepare(`${insert} VALUES ${placeholders(rows.length)}`).bind(...values))
        continue
      }
      // Only onto the head that is expected. On another this is an error,
      // not a statement without effect: an error undoes all of the batch,
      // also where the others' events would fit what another writer left.
      const head = `SELECT json(CASE coalesce(max("seqNum"), 0) WHEN ? THEN 1 ELSE 'the head is another' END) FROM ${table}`
      statements.push(
        this.db
          .prepare(`${insert} SELECT * FROM (VALUES ${placeholders(rows.length)}) WHERE (${head})`)
          .bind(...values, Number(expectedHead)),
      )
    }
    return statements
  }

  /** Runs a batch. Returns what it failed with. */
  private async fails(statements: D1PreparedStatement[]): Promise<unknown> {
    try {
      await this.db.batch(statements)
      return undefined
    } catch (error) {
      return error ?? new Error('D1 failed, and does not say why')
    }
  }

  /**
   * A push has failed. Returns if it was stored all the same and only the
   * answer was lost; else throws what it failed with.
   */
  private async explain(table: string, push: Push, failure: unknown): Promise<void> {
    const head = await this.tables.head(table)
    if (head === Number(push.expectedHead)) throw storageFailure(failure)
    if (head >= last(push) && (await this.holds(table, push))) return
    throw new StorageFailure({ tag: 'conflict', val: BigInt(head) })
  }

  /** Whether the log holds a push, each event where it says it is. */
  private async holds(table: string, { batch, createdAt }: Push): Promise<boolean> {
    const statements = []
    for (let at = 0; at < batch.length; at += ROWS_PER_STATEMENT) {
      const rows = batch.slice(at, at + ROWS_PER_STATEMENT)
      // Parameters end at 100, and these take 98.
      const place = [rows[0], rows.at(-1)].map((event) => Number(event?.seqNum))
      statements.push(
        this.db
          .prepare(
            `SELECT count(*) AS "missing" FROM (SELECT * FROM (VALUES ${placeholders(rows.length)})
             EXCEPT SELECT ${COLUMNS} FROM ${table} WHERE "seqNum" BETWEEN ? AND ?)`,
          )
          .bind(...rows.flatMap((event) => parameters(event, createdAt)), ...place),
      )
    }
    const results = await this.db.batch<{ missing: number }>(statements)
    return results.every(({ results }) => results[0]?.missing === 0)
  }

  private get opened(): Opened {
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

/** What `append` is asked for. */
interface Push {
  expectedHead: bigint
  batch: Event[]
  createdAt: string
}

/** A push's last sequence number. */
function last({ batch }: Push): number {
  return Number(batch.at(-1)?.seqNum)
}
