// The way to a collector: OTLP over HTTP, in its JSON encoding
// (opentelemetry.io/docs/specs/otlp, “JSON Protobuf Encoding”), which needs no
// library that weighs on every isolate's start.

import { ConfigurationError } from '../configuration.js'
import type { Span, SpanContext, Value } from './spans.js'

/** How long an export may take, in milliseconds, whatever
 * `OTEL_EXPORTER_OTLP_TIMEOUT` says: for so long a collector that does not
 * answer keeps an object awake. */
const EXPORT_MS_MAX = 5_000

/** A collector. */
export interface Collector {
  url: string
  headers: Headers
  timeoutMs: number
  /** What the spans are of, as OTLP has it. */
  resource: unknown
}

/** The collector that the standard variables name; `undefined` if they name
 * none. */
export function collectorOf(variable: (name: string) => string | undefined): Collector | undefined {
  const own = variable('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT')
  const base = variable('OTEL_EXPORTER_OTLP_ENDPOINT')
  const endpoint = own ?? (base === undefined ? undefined : `${base.replace(/\/+$/, '')}/v1/traces`)
  if (endpoint === undefined || variable('OTEL_SDK_DISABLED')?.toLowerCase() === 'true') return undefined
  const url = urlOf(endpoint)
  if (!url || !['http:', 'https:'].includes(url.protocol)) {
    throw new ConfigurationError(
      'OTEL_EXPORTER_OTLP_ENDPOINT is no URL of a collector: set it to one of http or https, such as `https://collector.example:4318`',
    )
  }
  const protocol = variable('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL') ?? variable('OTEL_EXPORTER_OTLP_PROTOCOL')
  if (protocol !== undefined && protocol !== 'http/json') {
    throw new ConfigurationError(
      'OTEL_EXPORTER_OTLP_PROTOCOL is one that is not spoken on Workers: leave it out, or set it to `http/json`, which collectors take where they take `http/protobuf` (port 4318)',
    )
  }
  const timeout = Number(variable('OTEL_EXPORTER_OTLP_TRACES_TIMEOUT') ?? variable('OTEL_EXPORTER_OTLP_TIMEOUT'))
  const attributes = {
    ...Object.fromEntries(pairs(variable('OTEL_RESOURCE_ATTRIBUTES'))),
    'service.name': variable('OTEL_SERVICE_NAME') ?? 'syncline',
    'cloud.provider': 'cloudflare',
    'cloud.platform': 'cloudflare.workers',
  }
  return {
    url: url.href,
    headers: headersOf(variable('OTEL_EXPORTER_OTLP_TRACES_HEADERS') ?? variable('OTEL_EXPORTER_OTLP_HEADERS')),
    timeoutMs: timeout > 0 ? Math.min(timeout, EXPORT_MS_MAX) : EXPORT_MS_MAX,
    resource: { attributes: keyValues(attributes) },
  }
}

/** Sends spans. Says why, if they were not taken. */
export async function send({ url, headers, timeoutMs, resource }: Collector, spans: Span[]): Promise<string | undefined> {
  const body = JSON.stringify({
    resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'syncline' }, spans: spans.map(encoded) }] }],
  })
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), timeoutMs)
  try {
    const answer = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: controller.signal })
    // Nobody wants it, and it may never end.
    answer.body?.cancel().catch(() => undefined)
    return answer.ok ? undefined : `it answers with status ${answer.status}`
  } catch (error) {
    return controller.signal.aborted ? `it has not answered in ${timeoutMs} ms` : String(error)
  } finally {
    // So that nothing is left that keeps an object awake.
    clearTimeout(timer)
  }
}

function urlOf(text: string): URL | undefined {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}

function encoded({ name, kind, context, parent, beganMs, endedMs, attributes, links, error }: Span) {
  return {
    traceId: context.traceId,
    spanId: context.spanId,
    ...(parent ? { parentSpanId: parent.spanId } : {}),
    flags: 1,
    name,
    kind,
    startTimeUnixNano: `${beganMs}000000`,
    endTimeUnixNano: `${endedMs}000000`,
    attributes: keyValues(attributes),
    links: links.map(({ traceId, spanId }: SpanContext) => ({ traceId, spanId })),
    ...(error === undefined ? {} : { status: { code: 2, message: error } }),
  }
}

function keyValues(attributes: Record<string, Value>) {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: anyValue(value) }))
}

/** OTLP's JSON has 64-bit numbers as text. */
function anyValue(value: Value) {
  switch (typeof value) {
    case 'string':
      return { stringValue: value }
    case 'number':
      return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value }
    case 'boolean':
      return { boolValue: value }
  }
}

/** `name=value,name=value`, with values percent-encoded. */
function pairs(text: string | undefined): Array<[string, string]> {
  return (text ?? '').split(',').flatMap((pair): Array<[string, string]> => {
    const at = pair.indexOf('=')
    if (at < 1) return []
    const value = pair.slice(at + 1).trim()
    try {
      return [[pair.slice(0, at).trim(), decodeURIComponent(value)]]
    } catch {
      return [[pair.slice(0, at).trim(), value]]
    }
  })
}

function headersOf(text: string | undefined): Headers {
  try {
    return new Headers([...pairs(text), ['content-type', 'application/json']])
  } catch {
    // What they are may be a secret.
    throw new ConfigurationError(
      'OTEL_EXPORTER_OTLP_HEADERS holds what is no header: set it to `name=value`, comma-separated, values percent-encoded',
    )
  }
}
