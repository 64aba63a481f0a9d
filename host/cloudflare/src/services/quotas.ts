// What a user has used, and what is under way: a Durable Object a user, so
// that there is one writer (`wit/quotas.wit`). Its calls run one by one, and
// none of them waits within.

import { DurableObject } from 'cloudflare:workers'

import type { Env } from '../configuration.js'

/** When a place that is taken is worth another try, in milliseconds: others'
 * streams end at any time. */
const PLACE_RETRY_MS = 1_000

/** A window begins with the first that is used in it. */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS "used" (
    "counter" TEXT PRIMARY KEY,
    "since_ms" INTEGER NOT NULL,
    "until_ms" INTEGER NOT NULL,
    "amount" INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS "held" (
    "place" INTEGER PRIMARY KEY AUTOINCREMENT,
    "counter" TEXT NOT NULL,
    "until_ms" INTEGER NOT NULL
  ) STRICT`

/** What is not granted: when it is worth another try. */
export interface Exhausted {
  retryAfterMs: number
}

/** A row of `used`. */
type Used = { since_ms: number; until_ms: number; amount: number }

/** One user's counters. */
export class Quotas extends DurableObject<Env> {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env)
    ctx.storage.sql.exec(SCHEMA)
  }

  /** Takes `amount`, if less than `max` is used within the window. */
  take(counter: string, amount: number, max: number, windowMs: number): Exhausted | undefined {
    const { sql } = this.ctx.storage
    const now = Date.now()
    const [row] = sql.exec<Used>(`SELECT "since_ms", "until_ms", "amount" FROM "used" WHERE "counter" = ?`, counter)
    // A clock that was put back makes no window longer.
    const isPutBack = row !== undefined && row.since_ms > now
    const goesOn = row !== undefined && !isPutBack && now < row.until_ms
    const since = goesOn ? row.since_ms : now
    const until = goesOn ? row.until_ms : bounded(now + windowMs)
    const used = goesOn || isPutBack ? row.amount : 0
    const isGranted = used < max
    if (isGranted || isPutBack) {
      sql.exec(
        `INSERT OR REPLACE INTO "used" ("counter", "since_ms", "until_ms", "amount") VALUES (?, ?, ?, ?)`,
        counter,
        since,
        until,
        bounded(isGranted ? used + amount : used),
      )
    }
    return isGranted ? undefined : { retryAfterMs: Math.max(until - now, 1) }
  }

  /** Holds one of `max` places until it is let go, or its lease is over. */
  hold(counter: string, max: number, leaseMs: number): Exhausted | number {
    const { sql } = this.ctx.storage
    const now = Date.now()
    // Of all counters: nobody comes back for some.
    sql.exec(`DELETE FROM "held" WHERE "until_ms" <= ?`, now)
    const { held } = sql.exec<{ held: number }>(`SELECT count(*) AS "held" FROM "held" WHERE "counter" = ?`, counter).one()
    if (held >= max) return { retryAfterMs: PLACE_RETRY_MS }
    const row = sql.exec<{ place: number }>(
      `INSERT INTO "held" ("counter", "until_ms") VALUES (?, ?) RETURNING "place"`,
      counter,
      bounded(now + leaseMs),
    )
    return row.one().place
  }

  /** Lets a place go, if it is still held. */
  letGo(counter: string, place: number): void {
    this.ctx.storage.sql.exec(`DELETE FROM "held" WHERE "place" = ? AND "counter" = ?`, place, counter)
  }
}

/** Numbers that are exact in JavaScript and SQLite. */
function bounded(number: number): number {
  return Math.min(number, Number.MAX_SAFE_INTEGER)
}
