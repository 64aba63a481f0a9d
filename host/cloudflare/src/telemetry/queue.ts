// Spans on their way to the collector. They leave with the event that finds 64
// of them, or one that has waited for 10 s, in a call that ends after 5: there
// is no timer, which would keep an object awake, and no collector can.
//
// What hibernation loses: a room that falls asleep leaves what its last events
// have put here to the isolate's next event, of whichever room or request; if
// there is none, since the isolate is let go first, those spans are lost, 63 at
// the most. When a room's last socket closes, all that waits leaves at once.

import { type Collector, send } from './otlp.js'
import { write } from './lines.js'
import type { Span } from './spans.js'

/** Spans that may wait: what is more is dropped, and counted. */
const SPANS_MAX = 512

/** So many leave at once. */
const DUE_SPANS = 64

/** So long one may wait for others, in milliseconds. */
const DUE_MS = 10_000

/** How long a call may be believed to be under way, in milliseconds: the
 * runtime ends requests without their code noticing. */
const UNDER_WAY_MS_MAX = 15_000

/** How long a collector is left alone that took nothing, in milliseconds. */
const PAUSE_MS = 10_000

/** How often it is said that one takes nothing, in milliseconds. */
const QUIET_MS = 60_000

/** The spans of one isolate. */
export class Queue {
  private waiting: Span[] = []
  /** When the first of them came. */
  private since = 0
  /** No call is begun before. */
  private notBefore = 0
  private told = Number.NEGATIVE_INFINITY
  private droppedSinceTold = 0

  constructor(
    private readonly collector: Collector,
    private readonly dropped: (spans: number) => void,
  ) {}

  /** A span is over. */
  push(span: Span): void {
    if (this.waiting.length >= SPANS_MAX) return this.drop(1)
    if (this.waiting.length === 0) this.since = Date.now()
    this.waiting.push(span)
  }

  /** An event ends: sends what is due, or all of it. */
  flush(waitUntil: (promise: Promise<unknown>) => void, isAll = false): void {
    const now = Date.now()
    const { length } = this.waiting
    const isDue = length >= DUE_SPANS || (length > 0 && (isAll || now - this.since >= DUE_MS))
    if (!isDue || now < this.notBefore) return
    const spans = this.waiting
    this.waiting = []
    this.notBefore = now + UNDER_WAY_MS_MAX
    waitUntil(this.send(spans))
  }

  private async send(spans: Span[]): Promise<void> {
    const why = await send(this.collector, spans)
    if (why === undefined) {
      this.notBefore = 0
      return
    }
    this.drop(spans.length)
    const now = Date.now()
    this.notBefore = now + PAUSE_MS
    if (now - this.told < QUIET_MS) return
    this.told = now
    write('warn', 'telemetry_failed', `the collector does not take spans: ${why}`, { signal: 'traces', dropped: this.droppedSinceTold })
    this.droppedSinceTold = 0
  }

  private drop(spans: number): void {
    this.droppedSinceTold += spans
    this.dropped(spans)
  }
}
