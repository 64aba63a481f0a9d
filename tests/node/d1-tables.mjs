// How long a D1 database takes to make one more table, by how many it has:
// README.md, "Looking into D1", has the figures. Local workerd, whose D1 is
// SQLite in an object as Cloudflare's is, and does not wait for the disk.
//
//   node tests/node/d1-tables.mjs 1000 5000 10000 20000
//
// host/cloudflare's packages have to be installed (any test of it does that).

import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const { Miniflare } = createRequire(new URL('../../host/cloudflare/package.json', import.meta.url))('miniflare')

/** Stores begun at each number, one after another. */
const MEASURED = 20

/** The statements of `src/storage/d1-tables.ts` and `d1.ts`. */
const script = `
const REGISTRY = 'CREATE TABLE IF NOT EXISTS "syncline_stores" ("storeId" text primary key, "tableName" text not null unique collate nocase) STRICT'
const name = (n) => 'eventlog_7_store_' + n
const creation = (db, n) => [
  db.prepare('CREATE TABLE "' + name(n) + '" ("seqNum" integer primary key, "parentSeqNum" integer not null, "name" text not null, "args" text, "createdAt" text not null, "clientId" text not null, "sessionId" text not null) STRICT'),
  db.prepare('INSERT INTO "syncline_stores" ("storeId", "tableName") VALUES (?, ?)').bind('store-' + n, name(n)),
]
const event = (db, n, seqNum) => db.prepare('INSERT INTO "' + name(n) + '" VALUES (?, ?, ?, ?, ?, ?, ?)').bind(seqNum, seqNum - 1, 'v1.TodoCreated', '{}', '2026-11-22T22:40:50.996Z', 'client', 'session')
export default {
  async fetch(request, { DB: db }) {
    const { pathname, searchParams } = new URL(request.url)
    const from = Number(searchParams.get('from'))
    const to = Number(searchParams.get('to'))
    await db.prepare(REGISTRY).run()
    if (pathname === '/fill') {
      for (let at = from; at < to; at += 100) {
        const statements = []
        for (let n = at; n < Math.min(at + 100, to); n++) statements.push(...creation(db, n))
        await db.batch(statements)
      }
    }
    for (let n = from; n < to && pathname === '/first'; n++) {
      await db.batch([
        db.prepare("SELECT name FROM pragma_table_list(?) WHERE schema = 'main' AND type = 'table'").bind(name(n)),
        db.prepare('SELECT "tableName" AS name FROM "syncline_stores" WHERE "tableName" = ?').bind(name(n)),
      ])
      await db.batch([...creation(db, n), event(db, n, 1)])
    }
    for (let n = from; n < to && pathname === '/next'; n++) await db.batch([event(db, n, 2)])
    return new Response()
  },
}`

const state = mkdtempSync(join(tmpdir(), 'd1-tables-'))
const options = { modules: true, script, compatibilityDate: '2026-04-01', d1Databases: ['DB'], d1Persist: state }
let server = new Miniflare(options)

/** Milliseconds that the Worker takes. */
async function timed(path, from, to) {
  const began = performance.now()
  const { ok } = await server.dispatchFetch(`http://worker/${path}?from=${from}&to=${to}`)
  if (!ok) throw new Error(`${path} failed at ${from}`)
  return performance.now() - began
}

try {
  let at = 0
  console.log('tables | first push of a store, ms | its next push, ms | first question after a restart, ms')
  for (const tables of process.argv.slice(2).map(Number)) {
    await timed('fill', at, tables)
    const first = (await timed('first', tables, tables + MEASURED)) / MEASURED
    const next = (await timed('next', tables, tables + MEASURED)) / MEASURED
    await server.dispose()
    server = new Miniflare(options)
    await server.ready
    const restart = await timed('next', tables, tables)
    console.log([tables, first.toFixed(1), next.toFixed(1), restart.toFixed(0)].join(' | '))
    at = tables + MEASURED
  }
} finally {
  await server.dispose()
  rmSync(state, { recursive: true })
}
