// The `connections` import: what a turn does to its room's connections. It is
// noted here and happens when the turn has ended well (design D2); the
// Durable Object's output gate then holds it back until all is durable.

import type * as Connections from '../../generated/plain/interfaces/syncline-backend-connections.js'
import type { Bounds } from '../../generated/plain/interfaces/syncline-backend-gateway.js'
import type * as Timer from '../../generated/plain/interfaces/syncline-backend-timer.js'

/** The room's connections, as effects reach them. */
export interface Peers {
  send(connection: number, frame: string): void
  close(connection: number, code: number, reason: string): void
  attach(connection: number, attachment: string): void
  notifyDrained(connection: number): void
  /** Sets the room's timer, instead of what it was set to. */
  wakeAfter(ms: number): void
  has(connection: number): boolean
  attached(): Array<[number, string]>
  /** A connection to an object, which begins with {@link subscribe}. */
  reserve(binding: string, objectId: string, callback: Connections.Callback): number | Connections.SubscribeError
  /** Begins a subscription, whose frames leave when `hold` is over. */
  subscribe(connection: number, hold: Promise<void>): void
  /** Whether frames are on their way to a subscriber: the guest counts them. */
  isBusy(): boolean
}

/** One turn's effects. */
export class Effects {
  private list: Array<() => void> = []
  /** When a subscription that this turn begins may be told of events. */
  private hold = Promise.resolve()

  constructor(
    private readonly peers: Peers,
    private readonly bounds: Bounds,
  ) {}

  /** A turn begins. */
  begin(hold: Promise<void>): void {
    this.list = []
    this.hold = hold
  }

  /** The import, for the turn under way. */
  readonly imports: typeof Connections = {
    send: (to, frame) => {
      // A Uint32Array by its lifetime: the guest's memory is not kept.
      const connections = Array.from(to)
      this.list.push(() => {
        for (const connection of connections) this.peers.send(connection, frame)
      })
    },
    sendEach: (openings, rest) => {
      for (const { to, head } of openings) this.imports.send(to, head + rest)
    },
    close: (connection, code, reason) => {
      const cut = cutToBytes(reason, this.bounds.reasonBytesMax)
      this.list.push(() => this.peers.close(connection, code, cut))
    },
    attach: (connection, attachment) => {
      const { attachmentBytesMax } = this.bounds
      const bytes = utf8Bytes(attachment, attachmentBytesMax)
      if (bytes > attachmentBytesMax) throw { payload: { tag: 'too-large', val: bytes } }
      if (!this.peers.has(connection)) throw { payload: { tag: 'gone' } }
      this.list.push(() => this.peers.attach(connection, attachment))
    },
    attached: () => this.peers.attached(),
    subscribe: (binding, objectId, callback) => {
      const result = this.peers.reserve(binding, objectId, callback)
      if (typeof result !== 'number') throw { payload: result }
      const { hold } = this
      this.list.push(() => this.peers.subscribe(result, hold))
      return result
    },
    notifyDrained: (connection) => {
      this.list.push(() => this.peers.notifyDrained(connection))
    },
  }

  /** The `timer` import, for the turn under way. */
  readonly timer: typeof Timer = {
    wakeAfter: (ms) => {
      this.list.push(() => this.peers.wakeAfter(Math.min(ms, this.bounds.wakeAfterMsMax)))
    },
  }

  /** The turn has ended well. */
  release(): void {
    const list = this.list
    this.list = []
    for (const effect of list) effect()
  }

  /** The turn never happened. */
  drop(): void {
    this.list = []
  }
}

/** UTF-8 bytes, without encoding what is surely small enough. */
function utf8Bytes(text: string, bytesMax: number): number {
  return text.length * 3 <= bytesMax ? text.length : new TextEncoder().encode(text).length
}

/** As much of a text as fits, by whole characters. */
export function cutToBytes(text: string, bytesMax: number): string {
  if (text.length * 3 <= bytesMax) return text
  const room = new Uint8Array(bytesMax)
  const { read } = new TextEncoder().encodeInto(text, room)
  return text.slice(0, read)
}
