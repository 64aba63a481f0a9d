// Subscribers: clients in other Durable Objects, which are called with what
// is pushed (`syncUpdateRpc`, `@livestore/common-cf` 0.4.0,
// `src/do-rpc/server.ts`). They are kept in the object's SQLite, since no
// socket keeps them while the room sleeps.

import type { SubscribeError } from '../generated/plain/interfaces/syncline-backend-connections.js'
import type { Env } from './configuration.js'

/** Subscribers of one store: each costs a call a push. */
const SUBSCRIBERS_MAX = 1_000

/** Calls that may fail in a row before a subscriber is let go. */
const FAILURES_MAX = 3

/** What may wait for one subscriber, in bytes: the guest's window is below. */
const WAITING_BYTES_MAX = 16 * 1024 * 1024

/** Ids of subscribers start here; those of sockets end before. */
const FIRST_ID = 0x8000_0000

/** An object that takes frames. */
interface Client extends Rpc.DurableObjectBranded {
  syncUpdateRpc(payload: unknown): Promise<void>
}

interface Subscriber {
  id: number
  binding: string
  objectId: string
  attachment: string
  /** Frames that wait, oldest first. */
  waiting: string[]
  waitingBytes: number
  /** Calls go out when this is over. */
  hold: Promise<void>
  isCalling: boolean
  failures: number
  /** Counts subscriptions, so that a call of the one before tells nothing. */
  generation: number
}

/** What becomes of a subscriber, told to the room. */
export interface Told {
  delivered(connection: number): void
  closed(connection: number): void
}

/** The subscribers of one room, by connection id. */
export class Subscribers {
  private readonly all = new Map<number, Subscriber>()

  constructor(
    private readonly storage: DurableObjectStorage,
    private readonly env: Env,
    private readonly told: Told,
  ) {
    // Only looked for: a call that is refused stores nothing (I6).
    const tables = storage.sql.exec(`SELECT 1 FROM sqlite_master WHERE name = 'syncline_subscribers'`).toArray()
    if (tables.length === 0) return
    for (const row of storage.sql.exec(`SELECT "id", "binding", "objectId", "attachment" FROM "syncline_subscribers"`)) {
      this.add(Number(row.id), String(row.binding), String(row.objectId), String(row.attachment))
    }
  }

  /** A connection to an object; what it was sent before is dropped. */
  subscribe(binding: string, objectId: string, hold: Promise<void>): number | SubscribeError {
    const stub = this.stub(binding, objectId)
    if (typeof stub === 'string') return stub
    const known = [...this.all.values()].find((it) => it.binding === binding && it.objectId === objectId)
    if (known) {
      // Beside a call that may hang: nobody waits for what it would take.
      known.generation++
      known.waiting = []
      this.add(known.id, binding, objectId, known.attachment).hold = hold
      return known.id
    }
    if (this.all.size >= SUBSCRIBERS_MAX) return 'unsupported'
    let id = FIRST_ID
    while (this.all.has(id)) id++
    this.add(id, binding, objectId, '').hold = hold
    return id
  }

  has(id: number): boolean {
    return this.all.has(id)
  }

  attach(id: number, attachment: string): void {
    const subscriber = this.all.get(id)
    if (!subscriber) return
    subscriber.attachment = attachment
    this.storage.sql.exec(`CREATE TABLE IF NOT EXISTS "syncline_subscribers" (
      "id" integer primary key,
      "binding" text not null,
      "objectId" text not null,
      "attachment" text not null,
      UNIQUE ("binding", "objectId")
    ) STRICT`)
    this.storage.sql.exec(
      `INSERT OR REPLACE INTO "syncline_subscribers" ("id", "binding", "objectId", "attachment") VALUES (?, ?, ?, ?)`,
      id,
      subscriber.binding,
      subscriber.objectId,
      attachment,
    )
  }

  attached(): Array<[number, string]> {
    const subscribers = [...this.all.values()].filter(({ attachment }) => attachment !== '')
    return subscribers.map(({ id, attachment }) => [id, attachment])
  }

  send(id: number, frame: string): void {
    const subscriber = this.all.get(id)
    if (!subscriber) return
    subscriber.waiting.push(frame)
    subscriber.waitingBytes += frame.length
    if (subscriber.waitingBytes > WAITING_BYTES_MAX) return this.close(id)
    if (!subscriber.isCalling) void this.call(subscriber)
  }

  close(id: number): void {
    const subscriber = this.all.get(id)
    if (!subscriber) return
    subscriber.generation++
    subscriber.waiting = []
    this.all.delete(id)
    if (subscriber.attachment === '') return
    this.storage.sql.exec(`DELETE FROM "syncline_subscribers" WHERE "id" = ?`, id)
  }

  /** The room starts again from storage: what waits will be sent again. */
  dropWaiting(): void {
    for (const subscriber of this.all.values()) {
      subscriber.generation++
      subscriber.waiting = []
      subscriber.waitingBytes = 0
    }
  }

  /** Calls a subscriber with one frame after another. */
  private async call(subscriber: Subscriber): Promise<void> {
    subscriber.isCalling = true
    for (;;) {
      await subscriber.hold
      const { generation, waiting: [frame] } = subscriber
      if (frame === undefined) break
      try {
        const stub = this.stub(subscriber.binding, subscriber.objectId)
        if (typeof stub === 'string') throw new Error(stub)
        await stub.syncUpdateRpc(JSON.parse(frame))
      } catch (error) {
        if (generation !== subscriber.generation) continue
        subscriber.failures++
        if (subscriber.failures < FAILURES_MAX) continue
        console.warn(`a subscriber behind ${subscriber.binding} fails to take what is pushed, and is let go: ${String(error)}`)
        this.close(subscriber.id)
        this.told.closed(subscriber.id)
        break
      }
      subscriber.failures = 0
      if (generation !== subscriber.generation) continue
      subscriber.waiting.shift()
      subscriber.waitingBytes -= frame.length
      this.told.delivered(subscriber.id)
    }
    subscriber.isCalling = false
  }

  private stub(binding: string, objectId: string): DurableObjectStub<Client> | SubscribeError {
    const namespace = this.env[binding]
    if (!isNamespace(namespace)) return 'unknown-binding'
    try {
      return namespace.get(namespace.idFromString(objectId))
    } catch {
      return 'unknown-object'
    }
  }

  private add(id: number, binding: string, objectId: string, attachment: string): Subscriber {
    const subscriber = {
      id, binding, objectId, attachment,
      waiting: [], waitingBytes: 0, hold: Promise.resolve(), isCalling: false, failures: 0, generation: 0,
    }
    this.all.set(id, subscriber)
    return subscriber
  }
}

function isNamespace(binding: unknown): binding is DurableObjectNamespace<Client> {
  return typeof binding === 'object' && binding !== null && 'idFromString' in binding
}
