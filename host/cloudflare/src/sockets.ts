// A room's WebSockets. They hibernate: the runtime keeps them, their tags
// (the connection id) and their attachments while the object sleeps; all that
// is here besides is found again when it wakes.

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

interface Open {
  socket: WebSocket
  /** Sent since `heard`, in bytes. */
  unheardBytes: number
  /** When the runtime last answered a keep-alive, as far as was looked. */
  answered: number
}

/** The WebSockets of one room, by connection id. */
export class Sockets {
  private readonly open = new Map<number, Open>()
  private readonly ids = new WeakMap<WebSocket, number>()
  private next = 1

  constructor(private readonly ctx: DurableObjectState) {
    for (const socket of ctx.getWebSockets()) {
      const id = Number(ctx.getTags(socket)[0])
      this.add(id, socket)
      this.next = Math.max(this.next, id)
    }
  }

  /** Takes a socket in; `undefined` when there are too many. */
  accept(socket: WebSocket): number | undefined {
    if (this.open.size >= SOCKETS_MAX) return undefined
    while (this.open.has(this.next)) this.next = successor(this.next)
    const id = this.next
    this.next = successor(id)
    this.ctx.acceptWebSocket(socket, [String(id)])
    this.add(id, socket)
    return id
  }

  /** A socket's connection id. */
  id(socket: WebSocket): number | undefined {
    return this.ids.get(socket)
  }

  /** A socket said something. */
  heard(id: number): void {
    const open = this.open.get(id)
    if (open) open.unheardBytes = 0
  }

  has(id: number): boolean {
    return this.open.has(id)
  }

  send(id: number, frame: string): void {
    const open = this.open.get(id)
    if (!open) return
    open.unheardBytes += frame.length
    if (open.unheardBytes > UNHEARD_BYTES_MAX && open.unheardBytes > frame.length && !this.answered(open)) {
      return this.close(id, TOO_SLOW.code, TOO_SLOW.reason)
    }
    try {
      open.socket.send(frame)
    } catch {
      // It is closing: its `closed` comes.
    }
  }

  close(id: number, code: number, reason: string): void {
    const open = this.open.get(id)
    this.open.delete(id)
    try {
      open?.socket.close(code, reason)
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

  /** Whether the runtime has answered a keep-alive of it lately. */
  private answered(open: Open): boolean {
    const answered = this.ctx.getWebSocketAutoResponseTimestamp(open.socket)?.getTime() ?? 0
    if (answered <= open.answered) return false
    open.answered = answered
    open.unheardBytes = 0
    return true
  }

  private add(id: number, socket: WebSocket): void {
    this.open.set(id, { socket, unheardBytes: 0, answered: 0 })
    this.ids.set(socket, id)
  }
}

/** Ids of sockets end where those of subscribers begin, and come round. */
function successor(id: number): number {
  return id >= 0x7fff_ffff ? 1 : id + 1
}
