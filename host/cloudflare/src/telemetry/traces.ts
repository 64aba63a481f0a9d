// The spans that are made: of a request its admission, and of a turn that
// answers requests what it did, under the names and with the attributes of the
// local host's (host/wasmtime/src/telemetry/traces.rs). They are made when
// what they are of is over. The clock stands still here but for I/O: a span
// of no length says that nobody has measured it.

import type { Call } from '../../generated/plain/interfaces/syncline-backend-telemetry.js'
import * as codes from './codes.js'
import { shown } from './ids.js'
import type { Queue } from './queue.js'
import type { Sampler } from './sampler.js'
import { KIND, type Span, type SpanContext, type Value, valid, within } from './spans.js'

/** Of a request's path, in characters. */
const PATH_CHARS_MAX = 256

/** Says that a span's length is not how long it took. */
const NOT_MEASURED = { 'syncline.duration.measured': false }

/** What a span is of, but for its place in its trace. */
type Of = Omit<Span, 'context' | 'parent' | 'links'> & { links?: SpanContext[] }

/** Something that a turn asked of its storage. */
export interface Stored {
  operation: 'open' | 'append' | 'read' | 'reset'
  beganMs: number
  endedMs: number
  /** How many events it was about, if it was about some. */
  events?: number
  /** As which error it failed, if it did. */
  error?: string
}

/** A turn that answered requests, and has ended well. */
export interface Turn {
  store: string
  arrivedMs: number
  beganMs: number
  endedMs: number
  /** The span that those requests are made in that name none. */
  parent: SpanContext | undefined
  calls: Call[]
  stored: Stored[]
}

/** What others refer to of a turn whose spans are kept. */
export interface Traced {
  /** What it appended. */
  append?: SpanContext
  /** Of the pulls that it answered, by their connections. */
  pulls: Array<[number, SpanContext]>
}

/** Makes spans. */
export class Traces {
  constructor(
    private readonly sampler: Sampler,
    readonly queue: Queue,
  ) {}

  /** A span's own place, and whether it is kept. */
  begin(parent: SpanContext | undefined): SpanContext {
    const context = within(parent, false)
    return { ...context, sampled: this.sampler(parent, context.traceId) }
  }

  /** A span is over. Returns what others refer to, if it is kept. */
  span(of: Of, parent: SpanContext | undefined, context = this.begin(parent)): SpanContext | undefined {
    if (!context.sampled) return undefined
    const isMeasured = of.endedMs > of.beganMs
    const attributes = isMeasured ? of.attributes : { ...of.attributes, ...NOT_MEASURED }
    this.queue.push({ links: [], ...of, attributes, context, parent })
    return context
  }

  /** A turn has ended well. */
  turn(turn: Turn): Traced {
    const traced: Traced = { pulls: [] }
    let isShown = false
    for (const call of turn.calls) {
      const parent = (call.parent && valid(call.parent)) ?? turn.parent
      const attributes: Record<string, Value> = {
        'rpc.system': 'effect-rpc',
        'rpc.method': call.method,
        'syncline.request.id': call.request,
      }
      if (call.method === 'push') attributes['syncline.events'] = call.events
      const failed = call.refused === undefined ? {} : { error: call.refused }
      if (call.refused !== undefined) attributes['error.type'] = call.refused
      const times = { beganMs: turn.arrivedMs, endedMs: turn.endedMs }
      const span = this.span({ name: call.method, kind: KIND.server, ...times, attributes, ...failed }, parent)
      if (!span) continue
      if (call.method === 'pull' && call.connection !== undefined) traced.pulls.push([call.connection, span])
      // Several requests may come in a frame: the turn is the first's.
      if (!isShown) this.inside(turn, span, traced)
      isShown = true
    }
    return traced
  }

  /** The turn itself, and what it asked of its storage. */
  private inside({ store, beganMs, endedMs, stored }: Turn, call: SpanContext, traced: Traced): void {
    const attributes = { 'syncline.store.id': shown(store) }
    const span = this.span({ name: 'turn', kind: KIND.internal, beganMs, endedMs, attributes }, call)
    for (const { operation, beganMs, endedMs, events, error } of stored) {
      const attributes: Record<string, Value> = { 'db.system.name': 'sqlite', 'db.operation.name': operation }
      if (events !== undefined) attributes['syncline.events'] = events
      if (error !== undefined) attributes['error.type'] = error
      const failed = error === undefined ? {} : { error }
      const made = this.span({ name: operation, kind: KIND.client, beganMs, endedMs, attributes, ...failed }, span)
      if (operation === 'append' && error === undefined && made) traced.append = made
    }
  }

  /** What these appended goes to so many connections, as far as others than who
   * pushed it have to be told. It is shown with the first. */
  broadcast(appends: SpanContext[], connections: number): void {
    const now = Date.now()
    const attributes = { 'syncline.sockets': connections }
    this.span({ name: 'broadcast', kind: KIND.producer, beganMs: now, endedMs: now, attributes, links: appends }, appends[0])
  }

  /** A subscriber is sent what these appended, in its pull. */
  delivered(pull: SpanContext, appends: SpanContext[]): void {
    const now = Date.now()
    this.span({ name: 'deliver', kind: KIND.consumer, beganMs: now, endedMs: now, attributes: {}, links: appends }, pull)
  }
}

/** A request's admission, on its way. */
export class Admit {
  /** What others refer to. */
  readonly context: SpanContext
  private readonly beganMs = Date.now()

  constructor(
    private readonly traces: Traces,
    private readonly method: string,
    private readonly path: string,
    /** The span that the request is made in, as its `traceparent` says. */
    readonly parent: SpanContext | undefined,
  ) {
    this.context = traces.begin(parent)
  }

  /** It is answered. */
  end(status: number): void {
    const attributes = {
      'http.request.method': codes.method(this.method),
      'url.path': this.path.slice(0, PATH_CHARS_MAX),
      'http.route': codes.route(this.path),
      'http.response.status_code': status,
    }
    const times = { beganMs: this.beganMs, endedMs: Date.now() }
    const failed = status >= 500 ? { error: '' } : {}
    this.traces.span({ name: 'admit', kind: KIND.server, ...times, attributes, ...failed }, this.parent, this.context)
  }
}
