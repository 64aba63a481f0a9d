// What the log says of those who are turned away: requests that are refused,
// and sockets that the server closes. The first of a kind is a line at once;
// those that follow are summed up, so that nobody fills the log, or memory,
// by being refused. The same lines as on wasmtime
// (host/wasmtime/src/telemetry/refusals.rs), but without a timer, which would keep
// objects awake: a sum is written by the next request or close of this
// isolate after its time, and one that no other follows is lost with it.

import type { Peer } from './peer.js'

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

/** A line without how often: its name and what it says, in order. */
interface Told {
  name: 'refused' | 'closed'
  /** What is counted together, beside the store. */
  kind: string
  store: string | undefined
  fields: Array<[string, string | number | undefined]>
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
    private readonly write: (line: string) => void,
    private readonly now: () => number,
  ) {}

  /** A request was refused: with which code and answer (an HTTP status, or a
   * close code), the store that it asked for, and why, in a sentence. None of
   * it may hold a token. */
  refused(peer: Peer, store: string | undefined, code: string, answer: number, why: string): void {
    const name = code.slice(0, WORDS_CHARS_MAX)
    this.note('refused', name, store, [['code', name], ['answer', answer]], why, [['request', peer.request]], peer)
  }

  /** A socket, or a subscriber, was closed by this server. */
  closed(peer: Peer, store: string | undefined, code: number, reason: string, livedMs: number | undefined): void {
    this.note('closed', `${code} ${reason}`, store, [['code', code]], reason, [['lived_ms', livedMs]], peer)
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
      this.write(line(sum.last, sum.times))
      sum.since = now
      sum.times = 0
    }
  }

  private note(
    name: Told['name'],
    kind: string,
    store: string | undefined,
    before: Told['fields'],
    why: string,
    after: Told['fields'],
    { address, origin }: Peer,
  ): void {
    this.look()
    const bounded = store?.slice(0, STORE_CHARS_MAX)
    const fields: Told['fields'] = [
      ...before,
      ['store', bounded],
      ['why', why.slice(0, WORDS_CHARS_MAX)],
      ...after,
      ['origin', origin],
      ['address', address],
    ]
    const told = { name, kind: `${name} ${kind}`, store: bounded, fields }
    const key = this.key(told)
    const sum = this.sums.get(key)
    if (sum) {
      sum.times++
      sum.last = told
      return
    }
    if (key.startsWith(OF_STORE)) this.stores++
    this.sums.set(key, { since: this.now(), times: 0, last: told })
    this.write(line(told))
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
export const refusals = new Refusals((text) => console.log(text), Date.now)

/** A socket that ended as sockets do, by its client or the network. */
export function ended(peer: Peer, store: string | undefined, code: number, livedMs: number | undefined): void {
  const by = code === ABNORMAL ? 'network' : 'client'
  const fields: Told['fields'] = [
    ['code', code],
    ['store', store],
    ['by', by],
    ['lived_ms', livedMs],
    ['origin', peer.origin],
    ['address', peer.address],
  ]
  console.debug(`ended${text(fields)}`)
}

/** RFC 6455's code for a connection that ended without a close. */
export const ABNORMAL = 1006

function line({ name, fields }: Told, times?: number): string {
  return `${name}${text([['times', times], ...fields])}`
}

function text(fields: Told['fields']): string {
  return fields
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? quoted(value) : value}`)
    .join('')
}

/** A client's text within a line, so that nothing in it ends the line. */
function quoted(value: string): string {
  return JSON.stringify(value).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (it) => `\\u{${it.codePointAt(0)?.toString(16)}}`)
}
