// What an isolate tells its operator beside its log: metrics, where a dataset
// is bound (`METRICS`), and traces, where a collector is named
// (`OTEL_EXPORTER_OTLP_ENDPOINT`). Without them nothing is measured, and the
// guest tells nothing.

import { ConfigurationError, type Env } from '../configuration.js'
import { hashAll } from './ids.js'
import { collectorOf } from './otlp.js'
import { type Dataset, Points } from './points.js'
import { Queue } from './queue.js'
import { sampler } from './sampler.js'
import { Traces } from './traces.js'

/** Tells the guest that its host wants to be told (guest/src/config.rs). */
const HOST_TELEMETRY = 'HOST_TELEMETRY'

/** Keeps an event's code at work until it is done. */
export type WaitUntil = (promise: Promise<unknown>) => void

/** Metrics and traces of one isolate: of its Worker, and of its objects. */
export class Telemetry {
  readonly points: Points | undefined
  readonly traces: Traces | undefined
  /** What is wrong with its configuration: it names the variable. */
  readonly fault: string | undefined
  /** The isolate's. Its bindings are the same for all that it runs. */
  private static shared: Telemetry | undefined

  /** The isolate's, by its bindings. */
  static of(env: Env): Telemetry {
    Telemetry.shared ??= new Telemetry(env)
    return Telemetry.shared
  }

  /** The isolate's, once it was configured. */
  static get current(): Telemetry | undefined {
    return Telemetry.shared
  }

  private constructor(env: Env) {
    const variable = (name: string) => {
      const value = env[name]
      return value === undefined || value === null || value === '' ? undefined : String(value)
    }
    hashAll(variable('TELEMETRY_HASH_IDS') === 'true')
    if (isDataset(env.METRICS)) this.points = new Points(env.METRICS)
    try {
      const collector = collectorOf(variable)
      if (!collector) return
      const { points } = this
      const dropped = (spans: number) => points?.add('syncline.telemetry.dropped', spans, { 'syncline.signal': 'traces' })
      const sampled = sampler(variable('OTEL_TRACES_SAMPLER'), variable('OTEL_TRACES_SAMPLER_ARG'))
      this.traces = new Traces(sampled, new Queue(collector, dropped))
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error
      this.fault = error.message
    }
  }

  /** Whether there is either: then the guest tells what it answers. */
  get isOn(): boolean {
    return this.points !== undefined || this.traces !== undefined
  }

  /** The guest's variables. */
  get variables(): Array<[string, string]> {
    return this.isOn ? [[HOST_TELEMETRY, '1']] : []
  }

  /** Throws what is wrong with its configuration. */
  check(): void {
    if (this.fault !== undefined) throw new ConfigurationError(this.fault)
  }

  /** An event is over: what it counted leaves, and spans that are due; or all
   * of them. */
  flush(waitUntil: WaitUntil, isAll = false): void {
    this.traces?.queue.flush(waitUntil, isAll)
    this.points?.flush()
  }
}

/** The isolate's metrics, where they are wanted. */
export function points(): Points | undefined {
  return Telemetry.current?.points
}

function isDataset(binding: unknown): binding is Dataset {
  return typeof binding === 'object' && binding !== null && 'writeDataPoint' in binding
}
