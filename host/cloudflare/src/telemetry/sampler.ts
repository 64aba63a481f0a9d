// Which traces are kept (`OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`, as
// OpenTelemetry has them): the parent's word, or a share of all.

import { ConfigurationError } from '../configuration.js'
import type { SpanContext } from './spans.js'

/** Decides on a trace. */
export type Sampler = (parent: SpanContext | undefined, traceId: string) => boolean

/** The sampler that these variables ask for. */
export function sampler(name: string | undefined, argument: string | undefined): Sampler {
  switch (name || 'parentbased_always_on') {
    case 'always_on':
      return () => true
    case 'always_off':
      return () => false
    case 'traceidratio':
      return share(ratio(argument))
    case 'parentbased_always_on':
      return ofParent(() => true)
    case 'parentbased_always_off':
      return ofParent(() => false)
    case 'parentbased_traceidratio':
      return ofParent(share(ratio(argument)))
    default:
      throw new ConfigurationError(
        'OTEL_TRACES_SAMPLER is none that is known: set it to `parentbased_traceidratio` with a share in OTEL_TRACES_SAMPLER_ARG, or to another of OpenTelemetry\'s',
      )
  }
}

function ofParent(root: Sampler): Sampler {
  return (parent, traceId) => parent?.sampled ?? root(parent, traceId)
}

/** By the trace's id, so that all who see it decide alike: its last 7 bytes
 * are random (W3C Trace Context, level 2). */
function share(ratio: number): Sampler {
  return (_, traceId) => Number.parseInt(traceId.slice(-13), 16) < ratio * 2 ** 52
}

function ratio(argument: string | undefined): number {
  const value = argument === undefined || argument.trim() === '' ? 1 : Number(argument)
  if (value >= 0 && value <= 1) return value
  throw new ConfigurationError('OTEL_TRACES_SAMPLER_ARG is no share: set it to a number from 0 to 1')
}
