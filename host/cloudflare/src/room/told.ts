// What a turn tells of itself: which requests it answered, what it asked of its
// storage, what it sends. It counts when the turn has ended well; a turn that
// traps told nothing but that.

import type * as Connections from '../../generated/plain/interfaces/syncline-backend-connections.js'
import type * as EventLog from '../../generated/plain/interfaces/syncline-backend-event-log.js'
import type * as Guest from '../../generated/plain/interfaces/syncline-backend-telemetry.js'
import type { Call } from '../../generated/plain/interfaces/syncline-backend-telemetry.js'
import type { Waiting } from '../component/instance.js'
import { StorageFailure } from '../storage/event-log.js'
import * as codes from '../telemetry/codes.js'
import type { SpanContext } from '../telemetry/spans.js'
import type { Telemetry } from '../telemetry/telemetry.js'
import type { Stored, Turn } from '../telemetry/traces.js'

/** Pulls that are remembered, of sockets that were sent them since the room
 * woke. */
const PULLS_MAX = 1_024

/** What was appended and nobody was told of yet. */
const UNTOLD_MAX = 64

/** Deliveries of one turn that have a span: the queue holds 512. */
const DELIVERIES_MAX = 16

/** What a turn is about. */
export interface About {
  /** The connection that its event came on. */
  connection?: number | undefined
  /** The span that its request is made in. */
  parent?: SpanContext | undefined
}

/** One room's turns, as they tell of themselves. */
export class Told {
  private about: About = {}
  private arrivedMs = 0
  private beganMs = 0
  private calls: Call[] = []
  private stored: Stored[] = []
  private aheadTimes = 0
  private events = 0
  private eventChars = 0
  private frames = 0
  private frameChars = 0
  /** Connections that are sent something. */
  private audience = new Set<number>()
  private untold: SpanContext[] = []
  private readonly pulls = new Map<number, SpanContext>()

  constructor(
    private readonly telemetry: Telemetry,
    private readonly store: string,
    /** Whether its storage waits for I/O, which the clock measures. */
    private readonly waits: boolean,
  ) {}

  /** The `telemetry` import, for the turn under way. */
  readonly imports: typeof Guest = {
    called: (call) => {
      this.calls.push(call)
    },
    // A room knows only its own: nobody could sum them up without its name.
    subscribed: () => {},
    ahead: () => {
      this.aheadTimes++
    },
    tokensUsed: () => {},
  }

  /** A turn begins whose event came at `arrivedMs`. */
  begin(about: About, arrivedMs: number): void {
    this.about = about
    this.arrivedMs = arrivedMs
    this.beganMs = Date.now()
    this.calls = []
    this.stored = []
    this.aheadTimes = this.events = this.eventChars = this.frames = this.frameChars = 0
    this.audience.clear()
  }

  /** The turn has ended well. */
  end(): void {
    const { points } = this.telemetry
    const endedMs = this.after(this.beganMs)
    if (points) {
      const seconds = this.waits ? (endedMs - this.arrivedMs) / 1_000 : undefined
      for (const { method, refused } of this.calls) {
        const failed = refused === undefined ? {} : { 'error.type': codes.code(refused) }
        points.add('rpc.server.call.duration', 1, { 'rpc.method': method, ...failed }, seconds)
      }
      if (this.aheadTimes > 0) points.add('syncline.clients.ahead', this.aheadTimes)
      if (this.events > 0) points.add('syncline.events.appended', this.events)
      if (this.events > 0) points.add('syncline.append.size', this.eventChars)
      if (this.frames > 0) points.add('syncline.frames.delivered', this.frames)
      if (this.frames > 0) points.add('syncline.delivered.size', this.frameChars)
    }
    this.trace(endedMs)
  }

  /** The turn never happened. */
  fail(error: unknown): void {
    const type = error instanceof WebAssembly.RuntimeError ? 'trap' : 'host'
    this.telemetry.points?.add('syncline.guest.failures', 1, { 'error.type': type })
    this.untold = []
  }

  /** The `connections` import, as it tells of what is sent. */
  sending(imports: typeof Connections): typeof Connections {
    const sent = (to: Uint32Array, chars: number) => {
      this.frames += to.length
      this.frameChars += to.length * chars
      for (const connection of to) this.audience.add(connection)
    }
    return {
      ...imports,
      send: (to, frame) => {
        sent(to, frame.length)
        imports.send(to, frame)
      },
      sendEach: (openings, rest) => {
        for (const { to, head } of openings) sent(to, head.length + rest.length)
        imports.sendEach(openings, rest)
      },
    }
  }

  /** The `event-log` import, as it tells of what is asked of it. */
  storing(log: Waiting<typeof EventLog>): Waiting<typeof EventLog> {
    return {
      open: (newBackendId) => this.measured('open', undefined, () => log.open(newBackendId)),
      append: (expectedHead, batch, createdAt) =>
        this.measured(
          'append',
          () => batch.length,
          () => log.append(expectedHead, batch, createdAt),
          () => {
            this.events += batch.length
            for (const { name, args, clientId, sessionId } of batch) {
              this.eventChars += name.length + (args?.length ?? 0) + clientId.length + sessionId.length
            }
          },
        ),
      read: (after, eventsMax, bytesMax) =>
        this.measured('read', (events) => events.length, () => log.read(after, eventsMax, bytesMax)),
      reset: (newBackendId) => this.measured('reset', undefined, () => log.reset(newBackendId)),
    }
  }

  private measured<T>(
    operation: Stored['operation'],
    events: ((result: T) => number) | undefined,
    ask: () => T | Promise<T>,
    done: () => void = () => {},
  ): T | Promise<T> {
    const beganMs = Date.now()
    const succeeded = (result: T): T => {
      done()
      this.note({ operation, beganMs, endedMs: this.after(beganMs), ...(events ? { events: events(result) } : {}) })
      return result
    }
    const failed = (error: unknown): never => {
      if (error instanceof StorageFailure) {
        this.note({ operation, beganMs, endedMs: this.after(beganMs), error: error.payload.tag.replace('-', '_') })
      }
      throw error
    }
    try {
      const result = ask()
      return result instanceof Promise ? result.then(succeeded, failed) : succeeded(result)
    } catch (error) {
      return failed(error)
    }
  }

  /** Storage has done something, or failed to: that counts whatever becomes of
   * the turn. */
  private note(stored: Stored): void {
    this.stored.push(stored)
    const { operation, beganMs, endedMs, error } = stored
    const { points } = this.telemetry
    const failed = error === undefined ? {} : { 'error.type': error }
    const seconds = this.waits ? (endedMs - beganMs) / 1_000 : undefined
    points?.add('db.client.operation.duration', 1, { 'db.operation.name': operation, ...failed }, seconds)
    if (error !== undefined) points?.add('syncline.storage.errors', 1, { 'error.type': error })
  }

  /** When something is over: at once, where nothing waits. A clock that moves
   * all the same, as under `wrangler dev`, would only say so there. */
  private after(beganMs: number): number {
    return this.waits ? Date.now() : beganMs
  }

  private trace(endedMs: number): void {
    const { traces } = this.telemetry
    if (!traces) return
    const { store, arrivedMs, beganMs, calls, stored, about } = this
    const turn: Turn = { store, arrivedMs, beganMs, endedMs, parent: about.parent, calls, stored }
    const { append, pulls } = traces.turn(turn)
    if (append && this.untold.length < UNTOLD_MAX) this.untold.push(append)
    if (about.connection !== undefined) this.audience.delete(about.connection)
    if (this.audience.size > 0 && this.untold.length > 0) {
      traces.broadcast(this.untold, this.audience.size)
      let left = DELIVERIES_MAX
      for (const connection of this.audience) {
        const pull = this.pulls.get(connection)
        if (pull && left-- > 0) traces.delivered(pull, this.untold)
      }
      this.untold = []
    }
    for (const [connection, pull] of pulls) this.remember(connection, pull)
  }

  private remember(connection: number, pull: SpanContext): void {
    this.pulls.delete(connection)
    this.pulls.set(connection, pull)
    if (this.pulls.size <= PULLS_MAX) return
    for (const [longest] of this.pulls) {
      this.pulls.delete(longest)
      return
    }
  }
}
