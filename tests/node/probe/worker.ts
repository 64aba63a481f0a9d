// The product's Worker, with a way to look at its rooms and to break them
// (`tests/hibernation`). All that is under test is the product's; what is
// here watches from outside, or fails in the place of what is below it.
//
//   /__probe?storeId=S            which instance serves S (this wakes it)
//   /__probe/id?storeId=S         the object's id (this does not)
//   /__probe/variables?storeId=S  the names of the variables that the guest has,
//                                 in the gateway and in S's room
//   /__probe/arm?storeId=S&fault=F  one fault to come, of faults.ts
//   /__probe/unread?url=U&answers=N  asks U so many times and reads none of the
//                                 answers, then one more and reads it, then
//                                 all: wrangler's own proxy would read them
//   /__probe/stalled?url=U        asks U twice, with bodies that do not end after
//                                 20 MB, and answers with what is answered first
//   /__probe/points               the data points that were written, in place of
//                                 Analytics Engine, which keeps nothing locally
//   /__probe/sql                  runs a list of statements in D1, as another
//                                 writer; answers with the last one's rows

import { WebSocketServer as Room } from '../../../host/cloudflare/src/room/room.js'
import type { Env } from '../../../host/cloudflare/src/configuration.js'
import { Gateway } from '../../../host/cloudflare/src/gateway.js'
import product from '../../../host/cloudflare/src/worker.js'
import { arm, breakDatabase, breakSql, type Fault, write } from './faults.js'

export { Quotas } from '../../../host/cloudflare/src/worker.js'

/** Stands for a dataset, where a test wants one (`PROBE_METRICS`): all objects
 * of this Worker share one isolate, locally. */
const points: AnalyticsEngineDataPoint[] = []

function withMetrics(env: Env): Env {
  if (env.PROBE_METRICS === undefined) return env
  return { ...env, METRICS: { writeDataPoint: (point) => void points.push(point ?? {}) } }
}

/** What is kept of each event, in characters, and of how many. */
const HEARD_CHARS = 200
const HEARD_EVENTS_MAX = 50

/** A room that says which incarnation it is, and what has woken it. */
export class WebSocketServer extends Room {
  private readonly instance = crypto.randomUUID()
  /** What the runtime told this instance, oldest first. */
  private readonly heard: string[] = []

  constructor(ctx: DurableObjectState, env: Env) {
    const storeId = () => ctx.storage.kv.get<string>('syncline:store') ?? ''
    const measured = withMetrics(env)
    super(ctx, measured.DB ? { ...measured, DB: breakDatabase(measured.DB, storeId) } : measured)
    breakSql(ctx.storage.sql, storeId)
  }

  /** Not an event of the room's, but it wakes the object like one. */
  probe() {
    return { instance: this.instance, heard: this.heard }
  }

  /** The variables of the guest, if it was entered. */
  variables(): string[] {
    return names(this['known']()?.['variables'] ?? [])
  }

  /** The next fault of this store. */
  arm(storeId: string, fault: Fault): void {
    arm(storeId, fault)
  }

  override async fetch(request: Request): Promise<Response> {
    this.hear('fetch')
    return await super.fetch(request)
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    this.hear(typeof message === 'string' ? message : 'binary')
    await super.webSocketMessage(socket, message)
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    this.hear(`close ${code}`)
    await super.webSocketClose(socket, code)
  }

  private hear(event: string): void {
    if (this.heard.length < HEARD_EVENTS_MAX) this.heard.push(event.slice(0, HEARD_CHARS))
  }
}

const names = (variables: Array<[string, string]>) => variables.map(([name]) => name).sort()

export default {
  async fetch(request, bindings, ctx) {
    const env = withMetrics(bindings)
    const { pathname, searchParams } = new URL(request.url)
    if (!pathname.startsWith('/__probe')) return await product.fetch(request, env, ctx)
    if (pathname === '/__probe/points') return Response.json(points)
    if (pathname === '/__probe/sql' && env.DB) {
      return Response.json(await write(env.DB, (await request.json()) as string[]))
    }
    if (pathname === '/__probe/stalled') {
      const url = new URL(searchParams.get('url') ?? '', request.url)
      const ask = () => {
        const megabyte = new Uint8Array(1_000_000).fill(32)
        let sent = 0
        const pull = (controller: ReadableStreamDefaultController) => {
          if (sent++ < 20) controller.enqueue(megabyte)
        }
        const body = new ReadableStream({ pull }, { highWaterMark: 0 })
        return product.fetch(new Request(url, { method: 'POST', body }) as typeof request, env, ctx)
      }
      return await Promise.race([ask(), ask()])
    }
    if (pathname === '/__probe/unread') {
      const url = new URL(searchParams.get('url') ?? '', request.url)
      const body = await request.text()
      const ask = () => product.fetch(new Request(url, { method: 'POST', body }) as typeof request, env, ctx)
      const unread: Response[] = []
      for (let n = 0; n < Number(searchParams.get('answers')); n++) unread.push(await ask())
      const read = (await (await ask()).text()).length
      let whole = 0
      for (const answer of unread) whole += (await answer.text().catch(() => '')).length === read ? 1 : 0
      return Response.json({ read, whole })
    }
    const storeId = searchParams.get('storeId') ?? ''
    const id = env.WEBSOCKET_SERVER.idFromName(storeId)
    if (pathname === '/__probe/id') return new Response(id.toString())
    const room = env.WEBSOCKET_SERVER.get(id) as unknown as DurableObjectStub<WebSocketServer>
    if (pathname === '/__probe/arm') {
      await room.arm(storeId, JSON.parse(searchParams.get('fault') ?? '') as Fault)
      return new Response('armed')
    }
    if (pathname === '/__probe/variables') {
      return Response.json({ gateway: names(Gateway.of(env)['variables']), room: await room.variables() })
    }
    return Response.json(await room.probe())
  },
} satisfies ExportedHandler<Env>
