// The Durable Object: one store's room. It turns what the runtime tells it
// into the guest's events, and knows nothing of what they mean.

import { DurableObject } from 'cloudflare:workers'

import type { Admission } from '../../generated/plain/interfaces/syncline-backend-room.js'
import type { Callback } from '../../generated/plain/interfaces/syncline-backend-connections.js'
import { admissionOf, admittedPeerOf, parentOf } from '../admission.js'
import { CallAnswer, pages, Untaken } from './answers.js'
import { fromJson, toJson } from './calls.js'
import type { Env } from '../configuration.js'
import type { Peers } from '../component/connections.js'
import { terms } from '../component/terms.js'
import { Gateway, type Refusal } from '../gateway.js'
import type { Peer } from '../peer.js'
import { ABNORMAL, ended, refusals } from '../refusals.js'
import type { SpanContext } from '../telemetry/spans.js'
import { Telemetry } from '../telemetry/telemetry.js'
import { Sockets } from './sockets.js'
import { Subscribers } from './subscribers.js'
import { Overloaded, textBytes, Turns } from './turns.js'

/** Where the object remembers which store it is: it cannot know by itself. */
const STORE_ID = 'syncline:store'

/** Who calls as another object: it holds a binding, and has no address. */
const CALLER: Peer = { address: 'object' }

/** A room. */
export class WebSocketServer extends DurableObject<Env> implements Peers {
  /** Upstream's mark of a sync backend's class. */
  declare readonly __DURABLE_OBJECT_BRAND: never
  private readonly sockets: Sockets
  private readonly subscribers: Subscribers
  private readonly untaken = new Untaken()
  private readonly telemetry: Telemetry
  private turns: Turns | undefined
  private timer: ReturnType<typeof setTimeout> | null = null

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env)
    this.telemetry = Telemetry.of(env)
    this.sockets = new Sockets(ctx, (life, code, reason) => refusals.closed(life, this.storeId, code, reason))
    this.subscribers = new Subscribers(ctx.storage, env, () => this.storeId, {
      delivered: (connection, isCurrent) => this.tell((room) => (isCurrent() ? room.delivered(connection) : undefined)),
      closed: (connection, isCurrent) => this.tell((room) => (isCurrent() ? room.closed(connection) : undefined)),
    })
  }

  /** An admitted request, from the Worker. */
  override async fetch(request: Request): Promise<Response> {
    const admission = admissionOf(request)
    if (!admission) return new Response('Only its Worker may call this object.\n', { status: 403 })
    const turns = this.enter(admission.storeId)
    refusals.look()
    const parent = parentOf(request)
    if (request.headers.get('upgrade') === 'websocket') {
      return this.open(turns, admission, admittedPeerOf(request), parent)
    }
    const body = await request.bytes()
    try {
      const answer = await turns.run(body.length, (room) => room.request(admission, body), undefined, { parent })
      const next = (continuation: string) => turns.run(continuation.length, (room) => room.resume(continuation))
      const encoder = new TextEncoder()
      const encode = (page: string) => encoder.encode(page)
      return new Response(pages(answer, this.untaken, encode, next, () => this.flush()), {
        status: answer.status,
        headers: answer.headers,
      })
    } finally {
      this.flush()
    }
  }

  /** A call by another Durable Object (`SyncDoRpc`). */
  async rpc(payload: Uint8Array): Promise<Uint8Array | ReadableStream<Uint8Array>> {
    try {
      return await this.called(payload)
    } finally {
      this.flush()
    }
  }

  private async called(payload: Uint8Array): Promise<Uint8Array | ReadableStream<Uint8Array>> {
    const body = toJson(payload) ?? new TextEncoder().encode('[]')
    const gateway = Gateway.of(this.env)
    const { faults } = terms()
    const refuse = async (refusal: Refusal) => {
      refusals.refused(CALLER, this.storeId, refusal.code, refusal.status, refusal.message)
      return fromJson((await gateway.refuse(refusal, body)).body)
    }
    const verdict = await gateway.admitCall(body)
    if ('answer' in verdict) {
      const { code, storeId, message } = verdict.cause
      refusals.refused(CALLER, storeId, code, 200, message)
      return fromJson(verdict.answer)
    }
    const { admission } = verdict
    if (!this.env.WEBSOCKET_SERVER.idFromName(admission.storeId).equals(this.ctx.id)) {
      return refuse(faults.storeMismatch.refusal)
    }
    const { settled, ended } = new CallAnswer(this.ctx.storage)
    this.telemetry.points?.add('syncline.admissions', 1, { 'syncline.code': 'OK' })
    try {
      const turns = this.enter(admission.storeId)
      const answer = await turns.run(body.length, (room) => room.request(admission, body), settled)
      if (answer.first.continuation === undefined) {
        ended(answer.first.body.length)
        return fromJson(answer.first.body)
      }
      const next = (continuation: string) => turns.run(continuation.length, (room) => room.resume(continuation), settled)
      return pages(answer, this.untaken, fromJson, next, (bytes) => {
        ended(bytes)
        this.flush()
      })
    } catch {
      // Were it thrown on, 0.4.0 would never push again. It was logged.
      ended(0)
      return refuse(faults.unavailable.refusal)
    }
  }

  /** Looks after subscribers for whom something waits. */
  override async alarm(): Promise<void> {
    for (const connection of this.subscribers.alarm()) this.tell((room) => room.drained(connection))
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    const id = this.sockets.id(socket)
    const turns = this.known()
    if (id === undefined || !turns) {
      const { code, reason } = terms().faults.internal.close
      refusals.closed(this.sockets.life(socket), this.storeId, code, reason)
      this.flush()
      return socket.close(code, reason)
    }
    const isText = typeof message === 'string'
    this.sockets.heard(id, isText ? message.length : message.byteLength)
    const about = { connection: id, parent: this.sockets.parent(id) }
    try {
      await turns.run(
        isText ? textBytes(message) : message.byteLength,
        (room) => room.message(id, isText ? { tag: 'text', val: message } : { tag: 'binary', val: new Uint8Array(message) }),
        undefined,
        about,
      )
    } catch (error) {
      // A turn that failed has closed every socket.
      const { code, reason } = terms().faults.overloaded.close
      if (error instanceof Overloaded) this.sockets.close(id, code, reason)
    } finally {
      this.flush()
    }
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    this.sockets.answerClose(socket, code)
    this.closed(socket, code)
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    this.closed(socket, ABNORMAL)
  }

  // What a turn does to the room's connections: sockets, or subscribers.

  send(connection: number, frame: string): void {
    if (this.subscribers.has(connection)) this.subscribers.send(connection, frame)
    else this.sockets.send(connection, frame)
  }

  close(connection: number, code: number, reason: string): void {
    if (this.subscribers.has(connection)) {
      const peer = { address: this.subscribers.address(connection) }
      refusals.closed({ peer, livedMs: undefined }, this.storeId, code, reason)
      this.subscribers.close(connection)
    } else this.sockets.close(connection, code, reason)
  }

  attach(connection: number, attachment: string): void {
    if (this.subscribers.has(connection)) this.subscribers.attach(connection, attachment)
    else this.sockets.attach(connection, attachment)
  }

  attached(): Array<[number, string]> {
    return [...this.sockets.attached(), ...this.subscribers.attached()]
  }

  has(connection: number): boolean {
    return this.sockets.has(connection) || this.subscribers.has(connection)
  }

  reserve(binding: string, objectId: string, callback: Callback) {
    return this.subscribers.reserve(binding, objectId, callback)
  }

  subscribe(connection: number, hold: Promise<void>): void {
    this.subscribers.subscribe(connection, hold)
  }

  isBusy(): boolean {
    return this.subscribers.isBusy
  }

  notifyDrained(connection: number): void {
    void this.sockets.roomFor(connection).then(() => this.tell((room) => room.drained(connection)))
  }

  wakeAfter(ms: number): void {
    clearTimeout(this.timer)
    // It keeps the object from hibernating until it is over.
    this.timer = setTimeout(() => this.tell((room) => room.wake()), ms)
  }

  private open(turns: Turns, admission: Admission, peer: Peer, parent: SpanContext | undefined): Response {
    const { 0: client, 1: server } = new WebSocketPair()
    const connection = this.sockets.accept(server, peer, parent)
    if (connection === undefined) {
      const why = 'The store has as many WebSockets as an object may.'
      const { code, reason } = terms().faults.tooManyConnections.close
      refusals.refused(peer, admission.storeId, reason, code, why)
      this.flush()
      server.accept()
      server.close(code, reason)
      return new Response(null, { status: 101, webSocket: client })
    }
    this.autoRespond(admission)
    this.telemetry.points?.add('syncline.connections.opened')
    // A turn that fails closes the socket like every other.
    this.tell((room) => room.open(connection, admission), turns)
    return new Response(null, { status: 101, webSocket: client })
  }

  /** An object answers one keep-alive by itself: the one that prevails. */
  private autoRespond({ autoResponse }: Admission): void {
    // The runtime keeps it while the object sleeps: the object must not.
    if (!autoResponse || (!autoResponse.prevails && this.ctx.getWebSocketAutoResponse())) return
    const { frame, answer } = autoResponse
    this.ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(frame, answer))
  }

  private closed(socket: WebSocket, code: number): void {
    const id = this.sockets.id(socket)
    if (id === undefined) return
    // One that was closed here is in the log by now.
    if (this.sockets.has(id)) ended(this.sockets.life(socket), this.storeId, code)
    this.sockets.gone(id)
    this.tell((room) => room.closed(id), this.known(), this.sockets.count === 0)
  }

  /** Runs a turn that nobody waits for; perhaps the last for long. */
  private tell(event: Parameters<Turns['run']>[1], turns = this.known(), isLast = false): void {
    const over = () => this.flush(isLast)
    try {
      // What went wrong was logged, and told to whoever is connected.
      const turn = turns?.run(0, event)
      if (turn instanceof Promise) turn.then(over, over)
      else over()
    } catch {
      over()
    }
  }

  /** An event is over: what it counted leaves, and spans that are due, or all
   * of them. */
  private flush(isAll = false): void {
    if (this.telemetry.isOn) this.telemetry.flush((promise) => this.ctx.waitUntil(promise), isAll)
  }

  /** Which store this is, once it was entered. */
  private get storeId(): string | undefined {
    return this.ctx.storage.kv.get<string>(STORE_ID)
  }

  /** The turns of the room that a request was admitted to. */
  private enter(storeId: string): Turns {
    const known = this.storeId
    if (known === undefined) this.ctx.storage.kv.put(STORE_ID, storeId)
    else if (known !== storeId) throw new Error('this object is another store\'s')
    return this.known() ?? this.start(storeId)
  }

  /** The turns of a room that was entered before; perhaps it woke. */
  private known(): Turns | undefined {
    if (this.turns) return this.turns
    const { storeId } = this
    return storeId === undefined ? undefined : this.start(storeId)
  }

  private start(storeId: string): Turns {
    this.turns ??= new Turns(this.env, this.ctx.storage, storeId, this, () => {
      const { code, reason } = terms().faults.internal.close
      this.sockets.closeAll(code, reason)
      this.subscribers.startAgain()
    })
    return this.turns
  }
}
