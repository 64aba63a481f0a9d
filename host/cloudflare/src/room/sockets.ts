// A room's WebSockets. They hibernate: the runtime keeps them, their tags
// (the connection id, and what the log says of it) and their attachments while
// the object sleeps; all that is here besides is found again when it wakes.

import { cutToBytes } from '../component/connections.js'
import type { Peer } from '../peer.js'
import type { Life, Traffic } from '../refusals.js'
import { type SpanContext, spanOf, traceparentOf } from '../telemetry/spans.js'

/** Hibernatable sockets of one object (durable-objects/api/state). */
const SOCKETS_MAX = 32_768

/**
 * What a socket may have been sent since it was last heard of, in bytes. A
 * Worker cannot see what waits in a socket's outbox; a client that takes what
 * it is sent says something now and then (an Ack, a keep-alive). 0.4 clients
 * stay far below by their windows; a push of 32 MiB may be shown to a 0.3 client.
 */
const UNHEARD_BYTES_MAX = 40 * 1024 * 1024

/**
 * What all sockets of a room may have been sent since they were heard of, in
 * bytes: part of an isolate's 128 MB. Beyond it those are closed that have
 * said nothing for a while. What is more is shown to clients that speak, such
 * as a large push to many that are live.
 */
const UNHEARD_ROOM_BYTES_MAX = 64 * 1024 * 1024

/** How long such a socket may be silent, in milliseconds: 0.4 clients ping
 * every 10 s, 0.3 clients every 25 s. */
const SILENT_MS_MAX = 60_000

/** How often they are looked for, in milliseconds. */
const SILENT_LOOK_MS = 1_000

/**
 * From so much on a long answer to a client without acknowledgements waits
 * until it is heard of: 0.3 clients ping every 25 s. A push of 32 MiB passes.
 */
const PACED_BYTES = 32 * 1024 * 1024

/** How often it is looked for, in milliseconds. */
const PACE_MS = 1_000

/** The close of a client that takes nothing (PROTOCOL.md, “Close codes”). */
const TOO_SLOW = { code: 1013, reason: 'TOO_SLOW' }

/** RFC 6455's codes for closes that had none; no frame may carry them. */
const NO_STATUS = 1005
const ABNORMAL = 1006

/** A tag, in bytes (durable-objects/api/state). */
const TAG_BYTES_MAX = 256

/** What tags begin with, beside the first, which is the connection id. */
const SINCE = 'since:'
const ADDRESS = 'address:'
const ORIGIN = 'origin:'
const REQUEST = 'request:'
const PARENT = 'parent:'

/** Tells of a socket that is closed here. */
export type Closed = (life: Life, code: number, reason: string) => void

interface Open {
  socket: WebSocket
  /** Sent since `heard`, in bytes. */
  unheardBytes: number
  /** When the first of them was sent. */
  unheardSince: number
  /** When the runtime last answered a keep-alive, as far as was looked. */
  answered: number
  /** What it has brought and was sent. */
  traffic: Traffic
  /** The span that its requests are made in that name none. */
  parent: SpanContext | undefined
}

/** The WebSockets of one room, by connection id. */
export class Sockets {
  private readonly open = new Map<number, Open>()
  private readonly ids = new WeakMap<WebSocket, number>()
  private next = 1
  /** Sent to all of them since each was heard, in bytes. */
  private unheardBytes = 0
  /** When silent ones were last looked for. */
  private looked = 0

  constructor(
    private readonly ctx: DurableObjectState,
    private readonly closed: Closed,
  ) {
    for (const socket of ctx.getWebSockets()) {
      const id = Number(ctx.getTags(socket)[0])
      this.add(id, socket, false)
      this.next = Math.max(this.next, id)
    }
  }

  /** Takes a socket in; `undefined` when there are too many. */
  accept(socket: WebSocket, { address, origin, requestId }: Peer, parent: SpanContext | undefined): number | undefined {
    if (this.open.size >= SOCKETS_MAX) return undefined
    while (this.open.has(this.next)) this.next = successor(this.next)
    const id = this.next
    this.next = successor(id)
    const tags = [`${SINCE}${Date.now()}`, `${ADDRESS}${address}`]
    if (origin !== undefined) tags.push(`${ORIGIN}${origin}`)
    if (requestId !== undefined) tags.push(`${REQUEST}${requestId}`)
    if (parent) tags.push(`${PARENT}${traceparentOf(parent)}`)
    this.ctx.acceptWebSocket(socket, [String(id), ...tags.map((tag) => cutToBytes(tag, TAG_BYTES_MAX))])
    this.add(id, socket, true)
    return id
  }

  /** A socket's connection id. */
  id(socket: WebSocket): number | undefined {
    return this.ids.get(socket)
  }

  /** What the log says of a socket. One of an older version has no such tags. */
  life(socket: WebSocket): Life {
    const find = (name: string) => this.tag(socket, name)
    const [since, origin, requestId] = [find(SINCE), find(ORIGIN), find(REQUEST)]
    const peer = {
      address: find(ADDRESS) ?? 'unknown',
      ...(origin === undefined ? {} : { origin }),
      ...(requestId === undefined ? {} : { requestId }),
    }
    const traffic = this.open.get(this.ids.get(socket) ?? 0)?.traffic
    const livedMs = since === undefined ? undefined : Date.now() - Number(since)
    return { peer, livedMs, ...(traffic ? { traffic } : {}) }
  }

  /** A socket said something, of so many bytes. */
  heard(id: number, bytes: number): void {
    const open = this.open.get(id)
    if (!open) return
    this.took(open)
    open.traffic.framesIn++
    open.traffic.bytesIn += bytes
  }

  /** The span that a socket's requests are made in that name none. */
  parent(id: number): SpanContext | undefined {
    return this.open.get(id)?.parent
  }

  /** How many there are. */
  get count(): number {
    return this.open.size
  }

  has(id: number): boolean {
    return this.open.has(id)
  }

  send(id: number, frame: string): void {
    const open = this.open.get(id)
    if (!open) return
    if (open.unheardBytes === 0) open.unheardSince = Date.now()
    open.unheardBytes += frame.length
    this.unheardBytes += frame.length
    if (this.unheardBytes > UNHEARD_ROOM_BYTES_MAX) this.closeSilent()
    if (open.unheardBytes > UNHEARD_BYTES_MAX && open.unheardBytes > frame.length && !this.answered(open)) {
      return this.close(id, TOO_SLOW.code, TOO_SLOW.reason)
    }
    try {
      open.socket.send(frame)
      open.traffic.framesOut++
      open.traffic.bytesOut += frame.length
    } catch {
      // It is closing: its `closed` comes.
    }
  }

  close(id: number, code: number, reason: string): void {
    const open = this.open.get(id)
    if (!open) return
    const life = this.life(open.socket)
    this.gone(id)
    this.closed(life, code, reason)
    try {
      open.socket.close(code, reason)
    } catch {
      // It was closed already.
    }
  }

  /** Answers a client's close with its own code. */
  answerClose(socket: WebSocket, code: number): void {
    try {
      if (code === NO_STATUS || code === ABNORMAL) socket.close()
      else socket.close(code)
    } catch {
      // The runtime has answered it.
    }
  }

  /** Forgets a socket that is gone. */
  gone(id: number): void {
    const open = this.open.get(id)
    if (open) this.took(open)
    this.open.delete(id)
  }

  /** Returns when a socket may be sent more of a long answer. */
  async roomFor(id: number): Promise<void> {
    // Other turns come first, in any case.
    await scheduler.wait(0)
    for (;;) {
      const open = this.open.get(id)
      if (!open || open.unheardBytes < PACED_BYTES || this.answered(open)) return
      await scheduler.wait(PACE_MS)
    }
  }

  /** Closes all of them. */
  closeAll(code: number, reason: string): void {
    for (const id of [...this.open.keys()]) this.close(id, code, reason)
  }

  attach(id: number, attachment: string): void {
    this.open.get(id)?.socket.serializeAttachment(new TextEncoder().encode(attachment))
  }

  attached(): Array<[number, string]> {
    const attached: Array<[number, string]> = []
    for (const [id, { socket }] of this.open) {
      const attachment: unknown = socket.deserializeAttachment()
      if (attachment instanceof Uint8Array) attached.push([id, new TextDecoder().decode(attachment)])
    }
    return attached
  }

  /** Closes those that were sent something and have said nothing since. */
  private closeSilent(): void {
    const now = Date.now()
    if (now < this.looked + SILENT_LOOK_MS) return
    this.looked = now
    for (const [id, open] of this.open) {
      const isSilent = open.unheardBytes > 0 && now > open.unheardSince + SILENT_MS_MAX
      if (isSilent && !this.answered(open)) this.close(id, TOO_SLOW.code, TOO_SLOW.reason)
    }
  }

  /** What a socket was sent is no more counted. */
  private took(open: Open): void {
    this.unheardBytes -= open.unheardBytes
    open.unheardBytes = 0
  }

  /** Whether the runtime has answered a keep-alive of it lately. */
  private answered(open: Open): boolean {
    const answered = this.ctx.getWebSocketAutoResponseTimestamp(open.socket)?.getTime() ?? 0
    if (answered <= open.answered) return false
    open.answered = answered
    this.took(open)
    return true
  }

  private tag(socket: WebSocket, name: string): string | undefined {
    const found = this.ctx.getTags(socket).find((tag) => tag.startsWith(name))
    return found?.slice(name.length)
  }

  private add(id: number, socket: WebSocket, isWhole: boolean): void {
    const traffic = { framesIn: 0, bytesIn: 0, framesOut: 0, bytesOut: 0, isWhole }
    const parent = spanOf(this.tag(socket, PARENT))
    this.open.set(id, { socket, unheardBytes: 0, unheardSince: 0, answered: 0, traffic, parent })
    this.ids.set(socket, id)
  }
}

/** Ids of sockets end where those of subscribers begin, and come round. */
function successor(id: number): number {
  return id >= 0x7fff_ffff ? 1 : id + 1
}
