// Faults on order, each once. They happen below the product: in the storage
// that it calls, or as what WebAssembly throws when the guest traps.

import { D1Log } from '../../../host/cloudflare/src/storage/d1.js'
import { ObjectLog } from '../../../host/cloudflare/src/storage/object.js'
import { Turns } from '../../../host/cloudflare/src/turns.js'

/** A fault to come. */
export interface Fault {
  kind:
    /** The guest traps when it has appended, inside of the import. */
    | 'trap-in-append'
    /** The guest traps at the end of a turn that appended. */
    | 'trap-after-append'
    /** Storage refuses to insert events. */
    | 'refuse-insert'
    /** D1 inserts events, but its answer is lost. */
    | 'lose-insert'
    /** The same, and it cannot be asked afterwards where the log ends. */
    | 'lose-insert-and-head'
    /** What the one before leaves. */
    | 'refuse-head'
    /** Storage refuses to open the log. */
    | 'refuse-open'
    /** Storage refuses to read events. */
    | 'refuse-read'
  /** What storage says. */
  words?: string
  /** How many statements of the kind pass before. */
  passes?: number
}

/** By store. All objects of this Worker share one isolate, locally. */
const faults = new Map<string, Fault>()

export function arm(storeId: string, fault: Fault): void {
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

/** A database that fails on order. */
export function breakDatabase(database: D1Database, storeId: () => string): D1Database {
  const prepare = (query: string) => {
    // Inserts go out with their batch.
    const fault = isInsert(query) ? undefined : refusal(query, storeId)
    if (fault) throw failure(fault)
    return database.prepare(query)
  }
  const batch = async (statements: D1PreparedStatement[]) => {
    const inserts = statements.some((it) => isInsert((it as unknown as { statement: string }).statement))
    const fault = inserts ? due(storeId(), 'refuse-insert', 'lose-insert', 'lose-insert-and-head') : undefined
    if (fault?.kind === 'refuse-insert') throw failure(fault)
    const results = await database.batch(statements)
    if (!fault) return results
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
Turns.prototype.run = function (bytes, event) {
  const end = <T>(result: T): T => {
    if (trapping.delete(this['storeId'])) throw trap()
    return result
  }
  return run.call(this, bytes, (room) => {
    const result = event(room)
    return result instanceof Promise ? result.then(end) : end(result)
  }) as ReturnType<typeof event>
}
