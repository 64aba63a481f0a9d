// A request to the Worker, as metrics and traces have it.

import type { Env } from '../configuration.js'
import * as codes from './codes.js'
import { type SpanContext, spanOf } from './spans.js'
import { Telemetry } from './telemetry.js'
import { Admit } from './traces.js'

/** A request that is being answered. */
export class Asked {
  /** The span that it is made in, as its `traceparent` says. */
  readonly parent: SpanContext | undefined
  private readonly telemetry: Telemetry
  private readonly beganMs: number
  private readonly path: string
  private readonly admit: Admit | undefined

  constructor(
    env: Env,
    private readonly request: Request,
    private readonly ctx: ExecutionContext,
  ) {
    this.telemetry = Telemetry.of(env)
    const { traces, isOn } = this.telemetry
    this.path = isOn ? new URL(request.url).pathname : ''
    this.beganMs = isOn ? Date.now() : 0
    if (!traces) return
    this.parent = spanOf(request.headers.get('traceparent'))
    this.admit = new Admit(traces, request.method, this.path, this.parent)
  }

  /** The span of its admission. */
  get context(): SpanContext | undefined {
    return this.admit?.context
  }

  /** Shows what is done within as a span in the platform's own traces, where
   * the runtime has them (`[observability.traces]` in wrangler.toml). */
  within<T>(done: () => Promise<T>): Promise<T> {
    const { tracing } = this.ctx
    return tracing ? tracing.enterSpan('admit', done) : done()
  }

  /** It was let in. */
  admitted(): void {
    this.telemetry.points?.add('syncline.admissions', 1, { 'syncline.code': 'OK' })
  }

  /** The gateway failed at it. */
  failed(error: unknown): void {
    const type = error instanceof WebAssembly.RuntimeError ? 'trap' : 'host'
    this.telemetry.points?.add('syncline.guest.failures', 1, { 'error.type': type })
  }

  /** It is answered. */
  answered(status: number): void {
    const { telemetry, request, path, ctx } = this
    if (!telemetry.isOn) return
    this.admit?.end(status)
    // The clock has moved if there was I/O, and else says nothing.
    const seconds = (Date.now() - this.beganMs) / 1_000
    const attributes = {
      'http.request.method': codes.method(request.method),
      'http.route': codes.route(path),
      'http.response.status_code': String(status),
    }
    telemetry.points?.add('http.server.request.duration', 1, attributes, seconds > 0 ? seconds : undefined)
    telemetry.flush((promise) => ctx.waitUntil(promise))
  }
}
