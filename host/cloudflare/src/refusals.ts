// What the log says of those who are turned away: requests that are refused,
// and sockets that the server closes. The first of a kind is a line at once;
// those that follow are summed up, so that nobody fills the log, or memory,
// by being refused. The same lines as on wasmtime
// (host/wasmtime/src/telemetry/refusals.rs), but without a timer, which would keep
// objects awake: a sum is written by the next request or close of this
// isolate after its time, and one that no other follows is lost with it.

import type { Peer } from './peer.js'
import * as codes from './telemetry/codes.js'
import { shown } from './telemetry/ids.js'
import { type Fields, type Level, write } from './telemetry/lines.js'
import { points } from './telemetry/telemetry.js'

/** For how long those that follow the first of a kind are summed up, in
 * milliseconds. */
const PERIOD_MS = 10_000

/** Kinds that are told apart by their store, at once. A client may name as
 * many stores as it likes: those of more are told apart by their code only. */
const STORES_MAX = 16

/** Kinds at once, in all. */
const KINDS_MAX = 64

/** A store's id, in characters: as long as one may be. */
const STORE_CHARS_MAX = 512

/** A code, or why, in characters. */
const WORDS_CHARS_MAX = 256

/** A line without how often: its event and what it says, in order. */
interface Told {
  event: 'refused' | 'closed'
  /** What is counted together, beside the store. */
  kind: string
  store: string | undefined
  fields: Fields
}

/** A connection's life, as far as it is known. */
export interface Life {
  peer: Peer
  /** How long it has lived, in milliseconds. */
  livedMs: number | undefined
  /** What it brought and took. */
  traffic?: Traffic
}

/** What a socket brought, and was sent, since the room woke: a room that falls
 * asleep forgets it. */
export interface Traffic {
  framesIn: number
  /** Text, or bytes of what is none. */
  bytesIn: number
  framesOut: number
  bytesOut: number
  /** Whether it is all that there was. */
  isWhole: boolean
}

interface Sum {
  since: number
  times: number
  last: Told
}

/** The log of one isolate, for those who are turned away. */
export class Refusals {
  private readonly sums = new Map<string, Sum>()
  /** How many of them are of one store. */
  private stores = 0

  constructor(
    private readonly write: (level: Level, event: string, message: string, fields: Fields) => void,
    private readonly now: () => number,
  ) {}

  /** A request was refused: with which code and answer (an HTTP status, or a
   * close code), the store that it asked for, and why, in a sentence. None of
   * it may hold a token. */
  refused(peer: Peer, store: string | undefined, code: string, answer: number, why: string): void {
    points()?.add('syncline.admissions', 1, { 'syncline.code': codes.code(code) })
    const name = code.slice(0, WORDS_CHARS_MAX)
    this.note('refused', name, store, { code: name, answer }, why, { request: peer.request }, peer)
  }

  /** A socket, or a subscriber, was closed by this server. */
  closed({ peer, livedMs, traffic }: Life, store: string | undefined, code: number, reason: string): void {
    counted('server', code)
    const after = { lived_ms: livedMs, ...carried(traffic) }
    this.note('closed', `${code} ${reason}`, store, { code }, reason, after, peer)
  }

  /** Writes what is summed up and due. */
  look(): void {
    const now = this.now()
    for (const [key, sum] of this.sums) {
      if (now - sum.since < PERIOD_MS) continue
      if (sum.times === 0) {
        this.sums.delete(key)
        if (key.startsWith(OF_STORE)) this.stores--
        continue
      }
      this.say(sum.last, sum.times)
      sum.since = now
      sum.times = 0
    }
  }

  private note(
    event: Told['event'],
    kind: string,
    store: string | undefined,
    before: Fields,
    why: string,
    after: Fields,
    { address, origin, requestId }: Peer,
  ): void {
    this.look()
    const bounded = store === undefined ? undefined : shown(store).slice(0, STORE_CHARS_MAX)
    const fields: Fields = {
      ...before,
      store: bounded,
      why: why.slice(0, WORDS_CHARS_MAX),
      ...after,
      origin,
      address,
      request_id: requestId,
    }
    const told = { event, kind: `${event} ${kind}`, store: bounded, fields }
    const key = this.key(told)
    const sum = this.sums.get(key)
    if (sum) {
      sum.times++
      sum.last = told
      return
    }
    if (key.startsWith(OF_STORE)) this.stores++
    this.sums.set(key, { since: this.now(), times: 0, last: told })
    this.say(told)
  }

  private say({ event, fields }: Told, times?: number): void {
    this.write('info', event, event, { times, ...fields })
  }

  /** The kind that it is counted with: one that is there, or one that there is
   * room for. */
  private key({ kind, store }: Told): string {
    const own = `${OF_STORE}${store ?? ''}\n${kind}`
    const hasRoom = this.sums.size < KINDS_MAX
    if (store !== undefined && (this.sums.has(own) || (this.stores < STORES_MAX && hasRoom))) return own
    const ofAllStores = `${OF_ALL}${kind}`
    return this.sums.has(ofAllStores) || hasRoom ? ofAllStores : OF_ALL
  }
}

/** What keys begin with. */
const OF_STORE = 'store:'
const OF_ALL = 'all:'

/** This isolate's. */
export const refusals = new Refusals(write, Date.now)

/** A socket that ended as sockets do, by its client or the network. */
export function ended({ peer, livedMs, traffic }: Life, store: string | undefined, code: number): void {
  const by = code === ABNORMAL ? 'network' : 'client'
  counted(by, code)
  write('debug', 'ended', 'ended', {
    code,
    store: store === undefined ? undefined : shown(store),
    by,
    lived_ms: livedMs,
    ...carried(traffic),
    origin: peer.origin,
    address: peer.address,
    request_id: peer.requestId,
  })
}

/** RFC 6455's code for a connection that ended without a close. */
export const ABNORMAL = 1006

function counted(by: 'server' | 'client' | 'network', code: number): void {
  points()?.add('syncline.closes', 1, { 'syncline.closed.by': by, 'syncline.close.code': codes.close(code) })
}

function carried(traffic: Traffic | undefined): Fields {
  if (!traffic) return {}
  const { framesIn, bytesIn, framesOut, bytesOut, isWhole } = traffic
  const all = { frames_in: framesIn, bytes_in: bytesIn, frames_out: framesOut, bytes_out: bytesOut }
  return isWhole ? all : { ...all, since: 'woken' }
}
