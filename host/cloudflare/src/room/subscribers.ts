// Subscribers: clients in other Durable Objects, which are called with what
// is pushed (`syncUpdateRpc`, `@livestore/common-cf` 0.4.0,
// `src/do-rpc/server.ts`; clients after 0.4.0 are told the store as well, and
// 0.4.0 looks at the first argument alone). They are kept in the object's SQLite, since no
// socket keeps them while the room sleeps; what waits for them is not: it is
// in the log, and their attachments say from where on.

import type { Callback, SubscribeError } from '../../generated/plain/interfaces/syncline-backend-connections.js'
import type { Env } from '../configuration.js'
import { fromJson } from './calls.js'
import { shown } from '../telemetry/ids.js'
import { write } from '../telemetry/lines.js'

/** Subscribers of one store: each costs a call a push. */
const SUBSCRIBERS_MAX = 1_000

/** How long to wait before a call is tried again, in milliseconds. After the
 * last of these a subscriber is let go: a client's object that restarts takes
 * some seconds. */
const RETRIES_MS = [500, 2_000, 8_000]

/** What may wait for one subscriber, in bytes: the guest's window is below. */
const WAITING_BYTES_MAX = 16 * 1024 * 1024

/** When the object is woken to look after subscribers for whom something
 * waits, in milliseconds: should it lose its memory, nobody else might come. */
const ALARM_MS = 30_000

/** What a subscriber is called with; those of before were called with values. */
const CALLBACK_COLUMN = `"callback" text not null default 'value'`

/** Ids of subscribers start here; those of sockets end before. */
const FIRST_ID = 0x8000_0000

/** An object that takes frames. */
interface Client extends Rpc.DurableObjectBranded {
  syncUpdateRpc(payload: unknown, storeId: string): Promise<void>
}

interface Subscriber {
  id: number
  binding: string
  objectId: string
  /** What it is called with. */
  callback: Callback
  attachment: string
  /** Frames that wait, oldest first; the first may be under way. */
  waiting: string[]
  waitingBytes: number
  /** Calls go out when this is over. */
  hold: Promise<void>
  isCalling: boolean
  failures: number
  /** Counts subscriptions: what became of an earlier one's frames is nobody's. */
  generation: number
}

/** What becomes of a subscriber, told to the room unless it is out of date by then. */
export interface Told {
  delivered(connection: number, isCurrent: () => boolean): void
  closed(connection: number, isCurrent: () => boolean): void
}

/** The subscribers of one room, by connection id. */
export class Subscribers {
  private readonly all = new Map<number, Subscriber>()
  /** Connections that a turn asked for and has not begun. */
  private readonly reserved = new Map<number, Pick<Subscriber, 'binding' | 'objectId' | 'callback'>>()
  /** Ids only count up: an old one's news would be taken for a new one's. */
  private next = FIRST_ID
  private isAlarmSet = false

  constructor(
    private readonly storage: DurableObjectStorage,
    private readonly env: Env,
    /** The store's id: known by the time that anybody is called. */
    private readonly storeId: () => string | undefined,
    private readonly told: Told,
  ) {
    // Only looked for: a call that is refused stores nothing (I6).
    const tables = storage.sql.exec(`SELECT 1 FROM sqlite_master WHERE name = 'syncline_subscribers'`).toArray()
    if (tables.length === 0) return
    const columns = storage.sql.exec(`SELECT 1 FROM pragma_table_info('syncline_subscribers') WHERE name = 'callback'`)
    if (columns.toArray().length === 0) storage.sql.exec(`ALTER TABLE "syncline_subscribers" ADD COLUMN ${CALLBACK_COLUMN}`)
    for (const row of storage.sql.exec(`SELECT * FROM "syncline_subscribers"`)) {
      const [binding, objectId] = [String(row.binding), String(row.objectId)]
      const callback = row.callback === 'packed' ? 'packed' : 'value'
      this.add(Number(row.id), { binding, objectId, callback }).attachment = String(row.attachment)
    }
  }

  /** A connection to an object: the one that it has, or a new one. */
  reserve(binding: string, objectId: string, callback: Callback): number | SubscribeError {
    const stub = this.stub(binding, objectId)
    if (typeof stub === 'string') return stub
    const known = [...this.all.values()].find((it) => it.binding === binding && it.objectId === objectId)
    if (!known && this.all.size >= SUBSCRIBERS_MAX) return 'unsupported'
    const id = known?.id ?? this.next
    this.reserved.clear()
    this.reserved.set(id, { binding, objectId, callback })
    return id
  }

  /** Begins a subscription; what its object was sent before is dropped. */
  subscribe(id: number, hold: Promise<void>): void {
    const known = this.all.get(id)
    const object = this.reserved.get(id)
    this.reserved.delete(id)
    if (!object) return
    const subscriber = this.add(id, object)
    subscriber.hold = hold
    if (!known) return
    subscriber.attachment = known.attachment
    // A call under way may hang: the new one's go beside it.
    known.generation++
    known.waiting = []
  }

  has(id: number): boolean {
    return this.all.has(id) || this.reserved.has(id)
  }

  /** Where a subscriber is, for the log. */
  address(id: number): string {
    return `object behind ${this.all.get(id)?.binding ?? 'a binding'}`
  }

  /** All of them. */
  get ids(): number[] {
    return [...this.all.keys()]
  }

  /** Whether frames are on their way. */
  get isBusy(): boolean {
    return [...this.all.values()].some(({ waiting }) => waiting.length > 0)
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
      ${CALLBACK_COLUMN},
      UNIQUE ("binding", "objectId")
    ) STRICT`)
    this.storage.sql.exec(
      `INSERT OR REPLACE INTO "syncline_subscribers" ("id", "binding", "objectId", "attachment", "callback") VALUES (?, ?, ?, ?, ?)`,
      id,
      subscriber.binding,
      subscriber.objectId,
      attachment,
      subscriber.callback,
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
    if (subscriber.waitingBytes > WAITING_BYTES_MAX && subscriber.waiting.length > 1) return this.letGo(subscriber)
    this.setAlarm()
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

  /**
   * The room starts again from storage, and sends again what waits. A frame
   * under way may arrive or not, and nobody could tell the room: then a
   * subscriber is let go, before it is shown something twice.
   */
  startAgain(): void {
    for (const subscriber of this.all.values()) {
      if (subscriber.waiting.length > 0 && subscriber.isCalling) this.drop(subscriber, 'the room failed while it was called')
      subscriber.waiting = []
      subscriber.waitingBytes = 0
    }
  }

  /** The alarm has rung. Returns the subscribers to be looked after. */
  alarm(): number[] {
    this.isAlarmSet = false
    if (this.isBusy) this.setAlarm()
    return this.ids
  }

  private setAlarm(): void {
    if (this.isAlarmSet) return
    this.isAlarmSet = true
    void this.storage.setAlarm(Date.now() + ALARM_MS)
  }

  /** Calls a subscriber with one frame after another. */
  private async call(subscriber: Subscriber): Promise<void> {
    subscriber.isCalling = true
    try {
      for (;;) {
        const { generation, hold } = subscriber
        await hold
        const [frame] = subscriber.waiting
        if (frame === undefined) return
        const isCurrent = () => subscriber.generation === generation
        if (!isCurrent()) continue
        try {
          const stub = this.stub(subscriber.binding, subscriber.objectId)
          if (typeof stub === 'string') throw new Error(stub)
          const payload = subscriber.callback === 'packed' ? fromJson(frame) : JSON.parse(frame)
          await stub.syncUpdateRpc(payload, this.storeId() ?? '')
        } catch (error) {
          if (!isCurrent()) continue
          const pause = RETRIES_MS[subscriber.failures++]
          if (pause === undefined) return this.letGo(subscriber, error)
          await scheduler.wait(pause)
          continue
        }
        if (!isCurrent()) continue
        subscriber.failures = 0
        subscriber.waiting.shift()
        subscriber.waitingBytes -= frame.length
        this.told.delivered(subscriber.id, isCurrent)
      }
    } catch (error) {
      write('error', 'subscriber_failed', `a subscriber cannot be looked after: ${String(error)}`)
    } finally {
      subscriber.isCalling = false
    }
  }

  /** Lets a subscriber go, and tells the room. */
  private letGo(subscriber: Subscriber, error: unknown = 'too much waits for it'): void {
    this.drop(subscriber, error)
    const { id } = subscriber
    // In a turn of its own: this may be one's end.
    queueMicrotask(() => this.told.closed(id, () => !this.all.has(id)))
  }

  /** Lets a subscriber go: its client is served again when it pulls. */
  private drop(subscriber: Subscriber, error: unknown): void {
    const store = shown(this.storeId() ?? '')
    write('warn', 'subscriber_let_go', `a subscriber behind ${subscriber.binding} does not take what is pushed, and is let go: ${String(error)}`, { store })
    this.close(subscriber.id)
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

  private add(id: number, object: Pick<Subscriber, 'binding' | 'objectId' | 'callback'>): Subscriber {
    const subscriber: Subscriber = {
      id,
      ...object,
      attachment: '',
      waiting: [],
      waitingBytes: 0,
      hold: Promise.resolve(),
      isCalling: false,
      failures: 0,
      generation: 0,
    }
    this.all.set(id, subscriber)
    this.next = Math.max(this.next, id + 1)
    return subscriber
  }
}

function isNamespace(binding: unknown): binding is DurableObjectNamespace<Client> {
  return typeof binding === 'object' && binding !== null && 'idFromString' in binding
}
