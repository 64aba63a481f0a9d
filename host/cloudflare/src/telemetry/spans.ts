// Spans, and how they refer to one another (W3C Trace Context).

import { hex } from './ids.js'

/** What others refer to of a span. */
export interface SpanContext {
  /** 32 lowercase hexadecimal digits. */
  traceId: string
  /** 16 of them. */
  spanId: string
  /** Whether the trace is kept. */
  sampled: boolean
}

/** OpenTelemetry's kinds, by their numbers. */
export const KIND = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 } as const

/** What a span's attribute may be. */
export type Value = string | number | boolean

/** A span that is over. */
export interface Span {
  name: string
  kind: (typeof KIND)[keyof typeof KIND]
  context: SpanContext
  parent: SpanContext | undefined
  /** In milliseconds since 1970: the clock moves with I/O alone. */
  beganMs: number
  endedMs: number
  attributes: Record<string, Value>
  links: SpanContext[]
  /** Set if it failed: with what, if that can be said. */
  error?: string
}

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

/** The span that a `traceparent` names, if it is one. */
export function spanOf(traceparent: string | null | undefined): SpanContext | undefined {
  const [, traceId = '', spanId = '', flags = ''] = TRACEPARENT.exec(traceparent ?? '') ?? []
  return valid({ traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 })
}

/** A span, unless its ids are none. */
export function valid(context: SpanContext): SpanContext | undefined {
  const isId = (id: string, digits: number) => new RegExp(`^[0-9a-f]{${digits}}$`).test(id) && !/^0*$/.test(id)
  return isId(context.traceId, 32) && isId(context.spanId, 16) ? context : undefined
}

/** A span, as a `traceparent` names it. */
export function traceparentOf({ traceId, spanId, sampled }: SpanContext): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`
}

/** A span's own place: in its parent's trace, or in a new one. */
export function within(parent: SpanContext | undefined, sampled: boolean): SpanContext {
  return { traceId: parent?.traceId ?? random(16), spanId: random(8), sampled }
}

function random(bytes: number): string {
  return hex(crypto.getRandomValues(new Uint8Array(bytes)))
}
