// What the logs' storages share: their interface, errors and names.

import type { Event, LogInfo, StorageError, StoredEvent } from '../../generated/plain/interfaces/syncline-backend-event-log.js'

export type { Event, LogInfo, StorageError, StoredEvent }

/** An error in the form that the glue takes for the import's own. */
export class StorageFailure extends Error {
  constructor(readonly payload: StorageError) {
    super(`${payload.tag}: ${payload.val}`)
  }
}

/** A storage that reports something else than a conflict. */
export function unavailable(words: string): StorageFailure {
  return new StorageFailure({ tag: 'unavailable', val: words })
}

/** What SQLite, or D1 around it, reports. */
export function storageFailure(error: unknown): StorageFailure {
  if (error instanceof StorageFailure) return error
  const words = error instanceof Error ? error.message : String(error)
  if (/SQLITE_FULL|disk is full|maximum DB size/i.test(words)) {
    return new StorageFailure({ tag: 'full', val: words })
  }
  if (/SQLITE_TOOBIG|too big/i.test(words)) {
    return new StorageFailure({ tag: 'too-large', val: words })
  }
  return unavailable(words)
}

/** Rows of a statement: 7 parameters each, and 100 at the most. */
export const ROWS_PER_STATEMENT = 14

/** A log's columns, in the order in which they are written here. */
export const COLUMNS = '"seqNum", "parentSeqNum", "name", "args", "createdAt", "clientId", "sessionId"'

/** A log's table, as upstream makes it (persistence format 7). */
export function createTable(table: string): string {
  return `CREATE TABLE ${quoted(table)} (
    "seqNum" integer primary key,
    "parentSeqNum" integer not null,
    "name" text not null,
    "args" text,
    "createdAt" text not null,
    "clientId" text not null,
    "sessionId" text not null
  ) STRICT`
}

/** Placeholders for so many events. */
export function placeholders(events: number): string {
  return Array(events).fill('(?, ?, ?, ?, ?, ?, ?)').join(', ')
}

/** An event's parameters. Sequence numbers end at 2^53 - 1. */
export function parameters(event: Event, createdAt: string): Array<string | number | null> {
  const { seqNum, parentSeqNum, name, args, clientId, sessionId } = event
  return [Number(seqNum), Number(parentSeqNum), name, args ?? null, createdAt, clientId, sessionId]
}

/** A row, in the order of {@link COLUMNS}. */
export type Row = [number, number, string, string | null, string, string, string]

/** A row as the guest takes it. */
export function storedEvent([seqNum, parentSeqNum, name, args, createdAt, clientId, sessionId]: Row): StoredEvent {
  const event: Event = { seqNum: BigInt(seqNum), parentSeqNum: BigInt(parentSeqNum), name, clientId, sessionId }
  if (args !== null) event.args = args
  return { event, createdAt }
}

/** The text of a row, in about its bytes. */
export function textBytes([, , name, args, createdAt, clientId, sessionId]: Row): number {
  return name.length + (args?.length ?? 0) + createdAt.length + clientId.length + sessionId.length
}

/** Upstream's name for a store's table (`src/cf-worker/do/sync-storage.ts`, 0.4.0). */
export function upstreamTable(storeId: string): string {
  return `eventlog_7_${storeId.replaceAll(/[^a-zA-Z0-9]/g, '_')}`
}

/** An identifier in SQL. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
