// Reading a log in D1. An answer of D1's has to stay below 1 MB of JSON
// (upstream found so: `@livestore/sync-cf` 0.4.0,
// `src/cf-worker/do/sync-storage.ts`), whatever text a log holds.

import { type Row, storedEvent, type StoredEvent, unavailable } from './event-log.js'

/** What one answer's rows may take as JSON, in bytes, at the worst. */
const ANSWER_BYTES_MAX = 900_000

/** Text of one page, in bytes: half an answer, since JSON writes a text of
 * JSON twice as long as it is, at the worst. */
const PAGE_BYTES_MAX = 400_000

/** Text that is larger than a page is read in pieces, of bytes, each as two
 * digits: SQLite's functions of characters end at the first NUL. */
const PIECE_BYTES = 400_000

/** Of the language since ES2026, and of workerd; TypeScript 5 does not know it. */
const { fromHex } = Uint8Array as unknown as { fromHex(hex: string): Uint8Array }

/** What a row takes in an answer beside its text, in bytes. */
const ROW_BYTES = 128

/** The columns of text, in the order of a `Row`. */
const TEXTS = ['name', 'args', 'createdAt', 'clientId', 'sessionId'] as const

/** Their sizes, in bytes; of NULL there is none. Read without the text. */
const SIZES = TEXTS.map((column) => `octet_length("${column}")`)

/** What follows a row's columns in the query: whether it was left out as too
 * large, and its sizes. */
type Sized = [...Row, number, number, number | null, number, number, number]

/** Reads one log. */
export class D1Reader {
  constructor(
    private readonly db: D1Database,
    /** Its table, quoted. */
    private readonly table: string,
  ) {}

  /** The events after `after`, as `event-log.read` has them. */
  async read(after: bigint, eventsMax: number, bytesMax: number): Promise<StoredEvent[]> {
    const size = SIZES.map((size) => `coalesce(${size}, 0)`).join(' + ')
    // Other text than JSON may hold control characters, of six bytes each.
    const json = TEXTS.map((column) => `${column === 'args' ? 2 : 6} * coalesce(octet_length("${column}"), 0)`).join(' + ')
    const columns = TEXTS.map((column) => `CASE WHEN "isLarge" THEN '' ELSE "${column}" END`)
    // Sizes first: rows that do not fit are never read whole.
    const rows = await this.db
      .prepare(
        `WITH "sizes" AS (
           SELECT "seqNum", ${size} AS "size", ${ROW_BYTES} + ${json} AS "json"
           FROM ${this.table} WHERE "seqNum" > ?1 ORDER BY "seqNum" LIMIT ?2
         ), "page" AS (
           SELECT "seqNum", "json" > ?3 AS "isLarge", row_number() OVER "before" AS "nth",
             sum("size") OVER "before" AS "total", sum("json") OVER "before" AS "answer"
           FROM "sizes" WINDOW "before" AS (ORDER BY "seqNum")
         )
         SELECT "seqNum", "parentSeqNum", ${columns.join(', ')}, "isLarge", ${SIZES.join(', ')}
         FROM "page" JOIN ${this.table} USING ("seqNum")
         WHERE "nth" = 1 OR ("total" <= ?4 AND "answer" <= ?3) ORDER BY "seqNum"`,
      )
      .bind(Number(after), eventsMax, ANSWER_BYTES_MAX, Math.min(bytesMax, PAGE_BYTES_MAX))
      .raw<Sized>()
    const events = []
    for (const [seqNum, parentSeqNum, name, args, createdAt, clientId, sessionId, isLarge, ...sizes] of rows) {
      const texts = isLarge ? await this.inPieces(seqNum, sizes) : ([name, args, createdAt, clientId, sessionId] as const)
      events.push(storedEvent([seqNum, parentSeqNum, ...texts]))
    }
    return events
  }

  /** A large row's texts, each in pieces that D1 answers with. */
  private async inPieces(
    seqNum: number,
    sizes: Array<number | null>,
  ): Promise<[string, string | null, string, string, string]> {
    const texts: Array<string | null> = []
    for (const [index, column] of TEXTS.entries()) {
      const bytes = sizes[index] ?? null
      texts.push(bytes === null ? null : await this.text(seqNum, column, bytes, sizes))
    }
    return texts as [string, string | null, string, string, string]
  }

  /**
   * One text. Each piece is of the row as it was measured, or there is none:
   * nobody is given half of one text and half of another.
   */
  private async text(seqNum: number, column: string, bytes: number, sizes: Array<number | null>): Promise<string> {
    const whole = new Uint8Array(bytes)
    const unchanged = SIZES.map((size) => `${size} IS ?`).join(' AND ')
    for (let at = 0; at < bytes; at += PIECE_BYTES) {
      const rows = await this.db
        .prepare(`SELECT hex(substr(CAST("${column}" AS BLOB), ?, ?)) FROM ${this.table} WHERE "seqNum" = ? AND ${unchanged}`)
        .bind(at + 1, PIECE_BYTES, seqNum, ...sizes)
        .raw<[string]>()
      const piece = rows[0]?.[0]
      if (piece === undefined) throw unavailable(`the event with sequence number ${seqNum} has changed while it was read: another writer? Try again`)
      whole.set(fromHex.call(Uint8Array, piece), at)
    }
    return new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(whole)
  }
}
