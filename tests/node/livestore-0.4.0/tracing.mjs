// OpenTelemetry as an app switches it on for LiveStore 0.4.0: a tracer, and
// the span that the store is opened in. Where to, how much and how soon say
// the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
// `OTEL_TRACES_SAMPLER`, `OTEL_BSP_SCHEDULE_DELAY`); without the first there
// is no tracing.
import { ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { BasicTracerProvider, BatchSpanProcessor, SamplingDecision } from '@opentelemetry/sdk-trace-base'

/**
 * Keeps no trace, and records all the same: LiveStore 0.4.0 reads how long its
 * own spans took, and does not start with one that is not recorded, as
 * OpenTelemetry's own `always_off` makes them.
 */
const keepsNone = {
  shouldSample: () => ({ decision: SamplingDecision.RECORD }),
  toString: () => 'keepsNone',
}

/** How long spans may take to end when the store has, in milliseconds. */
const REST_MAX_MS = 5_000

/**
 * The spans that have begun and not ended. LiveStore 0.4.0 ends those of its
 * pull a moment after its shutdown is done.
 */
class Open {
  spans = new Set()
  onStart(span) {
    this.spans.add(span)
  }
  onEnd(span) {
    this.spans.delete(span)
  }
  async forceFlush() {}
  async shutdown() {}
  async rest() {
    const until = Date.now() + REST_MAX_MS
    while (this.spans.size > 0 && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** `otelOptions` for a store, and what ends them; neither where nobody wants traces. */
export const tracing = () => {
  if (!process.env.OTEL_EXPORTER_OTLP_ENDPOINT) return { otelOptions: undefined, end: async () => {} }
  const open = new Open()
  const spanProcessors = [open, new BatchSpanProcessor(new OTLPTraceExporter())]
  const sampler = process.env.OTEL_TRACES_SAMPLER === 'always_off' ? keepsNone : undefined
  const provider = new BasicTracerProvider({ spanProcessors, sampler })
  const tracer = provider.getTracer('app')
  const root = tracer.startSpan('app')
  return {
    otelOptions: { tracer, rootSpanContext: trace.setSpan(ROOT_CONTEXT, root) },
    end: async () => {
      root.end()
      await open.rest()
      await provider.shutdown()
    },
  }
}
