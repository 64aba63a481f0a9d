// A room's turns (design D2): one event at a time enters the guest; what it
// sent leaves when the turn has ended well. A turn that traps never happened,
// and the room starts again from storage at the next event (I9).

import { Effects, type Peers } from '../component/connections.js'
import { noClaims } from '../component/claims.js'
import { type Imports, Instance, type RoomExports } from '../component/instance.js'
import { terms } from '../component/terms.js'
import { database, type Env, storageKind, variables } from '../configuration.js'
import { D1Log } from '../storage/d1.js'
import { ObjectLog } from '../storage/object.js'
import { shown } from '../telemetry/ids.js'
import { write } from '../telemetry/lines.js'
import { Telemetry } from '../telemetry/telemetry.js'
import { type About, Told } from './told.js'

/**
 * Events that wait while D1 answers, in bytes of their frames: part of an
 * isolate's 128 MB.
 */
const WAITING_BYTES_MAX = 48 * 1024 * 1024

/** While no more than this waits, one more event may be of any size. */
const WAITING_BYTES_FEW = 1024 * 1024

/** What an event that waits takes beside its frame, in bytes. */
const EVENT_BYTES = 1_024

/** What a text takes in memory, in bytes: V8 keeps one with a character
 * beyond Latin-1 in two for each. */
export function textBytes(text: string): number {
  return /[^\0-\xff]/.test(text) ? text.length * 2 : text.length
}

/** For turns that begin no subscription, or one that may be told at once. */
const AT_ONCE = Promise.resolve()

/** Of turns whose event came on no connection. */
const NOTHING: About = {}

/** Too much waits for the room: try again later. */
export class Overloaded extends Error {}

/** The turns of one room. */
export class Turns {
  private readonly effects: Effects
  private readonly log: ObjectLog | D1Log
  private readonly waits: boolean
  private readonly variables: Array<[string, string]>
  private instance: Instance | undefined
  /** The last turn of those that wait for one another. */
  private last: Promise<unknown> = Promise.resolve()
  private waitingBytes = 0
  /** What turns tell of themselves, where it is wanted. */
  private readonly told: Told | undefined

  constructor(
    env: Env,
    storage: DurableObjectStorage,
    private readonly storeId: string,
    private readonly peers: Peers,
    /** Called when a turn failed: whoever is connected has to know. */
    private readonly failed: () => void,
  ) {
    this.effects = new Effects(peers, terms().bounds)
    const telemetry = Telemetry.of(env)
    this.variables = [...variables(env, terms().variables), ...telemetry.variables]
    this.waits = storageKind(env) === 'd1'
    if (telemetry.isOn) this.told = new Told(telemetry, storeId, this.waits)
    telemetry.points?.add('syncline.room.wakes')
    this.log = this.waits ? new D1Log(database(env), storage, storeId) : new ObjectLog(storage, storeId)
  }

  /**
   * Runs a turn: at once where storage answers at once, else after those
   * that wait. `bytes` is what the event keeps in memory meanwhile; a
   * subscription that the turn begins is told of events when `hold` is over.
   */
  run<T>(
    bytes: number,
    event: (room: RoomExports) => T | Promise<T>,
    hold = AT_ONCE,
    about = NOTHING,
  ): T | Promise<T> {
    const arrivedMs = this.told ? Date.now() : 0
    if (!this.waits) {
      this.told?.begin(about, arrivedMs)
      return this.runNow(event as (room: RoomExports) => T, hold)
    }
    const isTooMuch = this.waitingBytes + bytes > WAITING_BYTES_MAX && this.waitingBytes > WAITING_BYTES_FEW
    if (isTooMuch && bytes > 0) throw new Overloaded()
    const counted = bytes + EVENT_BYTES
    this.waitingBytes += counted
    const turn = this.last.then(() => {
      this.told?.begin(about, arrivedMs)
      return this.runWaiting(event, hold)
    })
    this.last = turn.catch(() => undefined).finally(() => {
      this.waitingBytes -= counted
    })
    return turn
  }

  private runNow<T>(event: (room: RoomExports) => T, hold: Promise<void>): T {
    this.effects.begin(hold)
    let result: T
    try {
      result = this.log.turn(() => {
        const { room, isFresh } = this.awake()
        if (isFresh) void room.start(this.storeId)
        return event(room)
      })
    } catch (error) {
      throw this.fail(error)
    }
    this.end()
    return result
  }

  private async runWaiting<T>(event: (room: RoomExports) => T | Promise<T>, hold: Promise<void>): Promise<T> {
    this.effects.begin(hold)
    let result: T
    try {
      const { room, isFresh } = this.awake()
      if (isFresh) await room.start(this.storeId)
      result = await event(room)
    } catch (error) {
      throw this.fail(error)
    }
    this.end()
    return result
  }

  private awake(): { room: RoomExports; isFresh: boolean } {
    const isFresh = this.instance === undefined
    const { readEventsMax, readBytesMax } = terms().bounds
    if (this.instance) return { room: this.instance.room, isFresh }
    const eventLog: Imports['eventLog'] = {
      open: (newBackendId) => this.log.open(newBackendId),
      append: (expectedHead, batch, createdAt) => this.log.append(expectedHead, batch, createdAt),
      read: (after, eventsMax, bytesMax) =>
        this.log.read(after, Math.min(eventsMax, readEventsMax), Math.min(bytesMax, readBytesMax)),
      reset: (newBackendId) => this.log.reset(newBackendId),
    }
    this.instance = new Instance(this.waits ? 'waiting' : 'plain', this.variables, {
      claims: noClaims,
      connections: this.told?.sending(this.effects.imports) ?? this.effects.imports,
      timer: this.effects.timer,
      eventLog: this.told?.storing(eventLog) ?? eventLog,
      ...(this.told ? { telemetry: this.told.imports } : {}),
    })
    return { room: this.instance.room, isFresh }
  }

  private end(): void {
    try {
      this.effects.release()
    } catch (error) {
      // Stored, but not all was told: as when a frame is lost on its way.
      throw this.fail(error)
    }
    this.told?.end()
    // An instance that subscribers wait for knows what they have taken.
    if (this.instance?.isBloated && !this.peers.isBusy()) this.instance = undefined
  }

  private fail(error: unknown): Error {
    const store = shown(this.storeId)
    write('error', 'turn_failed', `a turn failed, the room starts again from storage: ${String(error)}`, { store })
    this.told?.fail(error)
    this.effects.drop()
    this.instance = undefined
    this.failed()
    return error instanceof Error ? error : new Error(String(error))
  }
}
