// Metrics, in an Analytics Engine dataset: what is counted within an event is
// summed up, and leaves when it is over, a data point for each sum. A metric
// is a point's index; attributes and values have columns of their own
// (`observability.md`, “On Cloudflare”).

/** The attributes, in the order of their columns: `blob1` is the first. */
export const ATTRIBUTES = [
  'error.type',
  'syncline.code',
  'rpc.method',
  'db.operation.name',
  'http.request.method',
  'http.route',
  'http.response.status_code',
  'syncline.closed.by',
  'syncline.close.code',
  'syncline.signal',
] as const

/** A metric's attributes: all of them words of known sets (`codes.ts`). */
export type Attributes = Partial<Record<(typeof ATTRIBUTES)[number], string>>

/** A metric. */
export type Metric =
  | 'db.client.operation.duration'
  | 'http.server.request.duration'
  | 'rpc.server.call.duration'
  | 'syncline.admissions'
  | 'syncline.append.size'
  | 'syncline.claims.lookups'
  | 'syncline.clients.ahead'
  | 'syncline.closes'
  | 'syncline.connections.opened'
  | 'syncline.delivered.size'
  | 'syncline.events.appended'
  | 'syncline.frames.delivered'
  | 'syncline.guest.failures'
  | 'syncline.llm.tokens'
  | 'syncline.room.wakes'
  | 'syncline.storage.errors'
  | 'syncline.telemetry.dropped'

/** Points that leave at once, at the most: an invocation may write 250
 * (analytics/analytics-engine/limits), and several events may share one. */
const POINTS_MAX = 100

/** Sums at once. Words of known sets make no more; a mistake here shall not
 * fill an isolate's memory. */
const SUMS_MAX = 2_000

interface Sum {
  metric: Metric
  attributes: Attributes
  value: number
  seconds: number | undefined
}

/** Where points go. */
export type Dataset = Pick<AnalyticsEngineDataset, 'writeDataPoint'>

/** What one isolate counts. */
export class Points {
  private readonly sums = new Map<string, Sum>()

  constructor(private readonly dataset: Dataset) {}

  /** Counts. `seconds` is how long it took, where that was measured: over I/O
   * alone, since the clock stands still in between. */
  add(metric: Metric, value = 1, attributes: Attributes = {}, seconds?: number): void {
    const key = [metric, ...ATTRIBUTES.map((name) => attributes[name] ?? '')].join('\n')
    const sum = this.sums.get(key)
    if (sum) {
      sum.value += value
      if (seconds !== undefined) sum.seconds = (sum.seconds ?? 0) + seconds
    } else if (this.sums.size < SUMS_MAX) this.sums.set(key, { metric, attributes, value, seconds })
  }

  /** Writes what was counted. What finds no place waits for the next time. */
  flush(): void {
    let left = POINTS_MAX
    for (const [key, sum] of this.sums) {
      if (left-- === 0) return
      try {
        this.dataset.writeDataPoint(point(sum))
      } catch {
        // This invocation has written as many as it may: the next one may.
        return
      }
      this.sums.delete(key)
    }
  }
}

function point({ metric, attributes, value, seconds }: Sum): AnalyticsEngineDataPoint {
  return {
    indexes: [metric],
    blobs: ATTRIBUTES.map((name) => attributes[name] ?? ''),
    doubles: seconds === undefined ? [value] : [value, seconds],
  }
}
