// Faults on order, each once. They happen below the product: in the storage
// that it calls, or as what WebAssembly throws when the guest traps.

import { D1Log } from '../../../host/cloudflare/src/storage/d1.js'
import { ObjectLog } from '../../../host/cloudflare/src/storage/object.js'
import { Turns } from '../../../host/cloudflare/src/room/turns.js'

/** A fault to come. */
export interface Fault {
  kind:
    /** The guest traps when it has appended, inside of the import. */
    | 'trap-in-append'
    /** The guest traps at the end of a turn that appended. */
    | 'trap-after-append'
    /** Storage refuses to insert events. */
    | 'refuse-insert'
    /** D1 inserts events, but its answer is lost. `sql` comes after. */
    | 'lose-insert'
    /** The same, and it cannot be asked afterwards where the log ends. */
    | 'lose-insert-and-head'
    /** What the one before leaves. */
    | 'refuse-head'
    /** D1 waits before it inserts events, until this fault is ordered again. */
    | 'hold-insert'
    /** Storage refuses to open the log. */
    | 'refuse-open'
    /** Storage refuses to read events. */
    | 'refuse-read'
    /** Another writer runs `sql` in D1 just before events are inserted. */
    | 'write-before-insert'
    /** The same, just before a piece of a large event is read. */
    | 'write-before-piece'
  /** What another writer does. */
  sql?: string[]
  /** What storage says. */
  words?: string
  /** How many statements of the kind pass before. */
  passes?: number
}

/** By store. All objects of this Worker share one isolate, locally. */
const faults = new Map<string, Fault>()

/** What lets held inserts go, by store. */
const held = new Map<string, () => void>()

export function arm(storeId: string, fault: Fault): void {
  const holding = held.get(storeId)
  if (fault.kind === 'hold-insert' && holding) return holding()
  faults.set(storeId, fault)
}

/** The fault, if it is due now. */
function due(storeId: string, ...kinds: Array<Fault['kind']>): Fault | undefined {
  const fault = faults.get(storeId)
  if (!fault || !kinds.includes(fault.kind)) return undefined
  if (fault.passes) {
    fault.passes--
    return undefined
  }
  faults.delete(storeId)
  return fault
}

const failure = ({ words }: Fault) => new Error(words ?? 'the disk is on fire')

const trap = () => new WebAssembly.RuntimeError('unreachable')

const isInsert = (query: string) => /^INSERT INTO "eventlog_/.test(query)
const isRead = (query: string) => /^(SELECT|WITH "sizes" AS \(\s*SELECT)\s+"seqNum", /.test(query)
const isPiece = (query: string) => query.startsWith('SELECT hex(substr(')
const isOpen = (query: string) => query.startsWith('CREATE TABLE IF NOT EXISTS "syncline_stores"')
const isHead = (query: string) => query.startsWith('SELECT coalesce(max("seqNum"), 0)')

/** The fault that a statement meets at once, if it is due. */
function refusal(query: string, storeId: () => string): Fault | undefined {
  if (isInsert(query)) return due(storeId(), 'refuse-insert')
  if (isRead(query)) return due(storeId(), 'refuse-read')
  if (isOpen(query)) return due(storeId(), 'refuse-open')
  if (isHead(query)) return due(storeId(), 'refuse-head')
  return undefined
}

/** Makes an object's SQLite fail on order. */
export function breakSql(sql: SqlStorage, storeId: () => string): void {
  const exec = sql.exec.bind(sql)
  const broken = (query: string, ...bindings: unknown[]) => {
    const fault = refusal(query, storeId)
    if (fault) throw failure(fault)
    return exec(query, ...bindings)
  }
  Object.defineProperty(sql, 'exec', { value: broken })
}

/**
 * An answer of D1's, in bytes of JSON: upstream found that it refuses more
 * (`@livestore/sync-cf` 0.4.0, `src/cf-worker/do/sync-storage.ts`). Here it
 * does not by itself.
 */
const ANSWER_BYTES_MAX = 1_000_000

/** A statement that `before` comes before, whose answer is measured. */
function watched(statement: D1PreparedStatement, before: () => Promise<unknown>): D1PreparedStatement {
  const answered = async (ask: () => Promise<unknown>) => {
    await before()
    const answer = await ask()
    if (JSON.stringify(answer).length > ANSWER_BYTES_MAX) throw new Error('D1_ERROR: the answer is too large')
    return answer
  }
  return {
    bind: (...values: unknown[]) => watched(statement.bind(...values), before),
    raw: () => answered(() => statement.raw()),
    first: (column: string) => answered(() => statement.first(column)),
  } as unknown as D1PreparedStatement
}

/** What another writer does, as one transaction. */
export async function write(database: D1Database, sql: string[] = []): Promise<unknown[]> {
  const results = await database.batch(sql.map((query) => database.prepare(query)))
  return results.at(-1)?.results ?? []
}

/** A database that fails on order. */
export function breakDatabase(database: D1Database, storeId: () => string): D1Database {
  const prepare = (query: string) => {
    // Inserts go out with their batch.
    const fault = isInsert(query) ? undefined : refusal(query, storeId)
    if (fault) throw failure(fault)
    const statement = database.prepare(query)
    const before = async () => {
      const other = isPiece(query) ? due(storeId(), 'write-before-piece') : undefined
      if (other) await write(database, other.sql)
    }
    return isPiece(query) || isRead(query) ? watched(statement, before) : statement
  }
  const batch = async (statements: D1PreparedStatement[]) => {
    const inserts = statements.some((it) => isInsert((it as unknown as { statement: string }).statement))
    const fault = inserts ? due(storeId(), 'refuse-insert', 'lose-insert', 'lose-insert-and-head', 'write-before-insert', 'hold-insert') : undefined
    if (fault?.kind === 'refuse-insert') throw failure(fault)
    if (fault?.kind === 'hold-insert') {
      await new Promise<void>((resolve) => held.set(storeId(), resolve))
      return await database.batch(statements)
    }
    if (fault?.kind === 'write-before-insert') {
      await write(database, fault.sql)
      return await database.batch(statements)
    }
    const results = await database.batch(statements)
    if (!fault) return results
    if (fault.sql) await write(database, fault.sql)
    if (fault.kind === 'lose-insert-and-head') arm(storeId(), { kind: 'refuse-head' })
    throw failure(fault)
  }
  return new Proxy(database, {
    get: (target, name) => {
      if (name === 'prepare') return prepare
      if (name === 'batch') return batch
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function' ? (member.bind(target) as unknown) : member
    },
  })
}

/** Stores whose turn under way traps when the guest returns. */
const trapping = new Set<string>()

function appended(storeId: string): void {
  if (due(storeId, 'trap-in-append')) throw trap()
  if (due(storeId, 'trap-after-append')) trapping.add(storeId)
}

const objectAppend = ObjectLog.prototype.append
ObjectLog.prototype.append = function (...batch) {
  objectAppend.apply(this, batch)
  appended(this['storeId'])
}

const d1Append = D1Log.prototype.append
D1Log.prototype.append = async function (...batch) {
  await d1Append.apply(this, batch)
  appended(this['storeId'])
}

const run = Turns.prototype.run
Turns.prototype.run = function (bytes, event, ...others) {
  const end = <T>(result: T): T => {
    if (trapping.delete(this['storeId'])) throw trap()
    return result
  }
  return run.call(this, bytes, (room) => {
    const result = event(room)
    return result instanceof Promise ? result.then(end) : end(result)
  }, ...others) as ReturnType<typeof event>
}
