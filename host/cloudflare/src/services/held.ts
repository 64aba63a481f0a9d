// What a relay holds: a place of this isolate's, and what the guest has taken
// for it, which only `relay.end` gives back.

import type { Context, Ending } from '../../generated/plain/interfaces/syncline-backend-relay.js'
import type { RelayExports } from '../component/instance.js'
import type { Gateway } from '../gateway.js'
import { write } from '../telemetry/lines.js'
import { points } from '../telemetry/telemetry.js'
import type { Place } from './places.js'

const NOTHING = new Uint8Array()

/** A relay, from its beginning to its end. */
export class Held {
  /** Nothing is held any more. */
  readonly over: Promise<void>
  private readonly release: () => void
  /** What `relay.end` has to know; nothing before it must be called. */
  private context: Context | undefined

  constructor(
    private readonly gateway: Gateway,
    private readonly place: Place | undefined,
  ) {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.over = promise
    this.release = resolve
  }

  /** The guest goes on from here. */
  keep(context: Context): void {
    this.context = context
    this.place?.keep()
  }

  /** Asks the guest what is next. */
  next<T>(ask: (relay: RelayExports, context: Context) => T | Promise<T>): Promise<T> {
    const context = this.context ?? NOTHING
    return this.gateway.call(({ relay }) => ask(relay, context))
  }

  /** The guest has given back what it held. */
  isOver(): void {
    this.context = undefined
    this.place?.end()
    // What it used may have been told after its request was answered.
    points()?.flush()
    this.release()
  }

  /** It has ended so, unless it is over: what is still to be written. */
  async end(ending: Ending): Promise<Uint8Array> {
    const { context } = this
    this.context = undefined
    try {
      return context ? await this.gateway.call(({ relay }) => relay.end(context, ending)) : NOTHING
    } catch (error) {
      write('error', 'relay_failed', `a relay cannot be ended: ${String(error)}`)
      return NOTHING
    } finally {
      this.isOver()
    }
  }
}
