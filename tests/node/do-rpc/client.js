// LiveStore clients inside Durable Objects, driven over HTTP: see README.md.
import { DurableObject } from 'cloudflare:workers'
import { createStoreDoPromise } from '@livestore/adapter-cloudflare'
import { StoreInternalsSymbol } from '@livestore/livestore'
import { handleSyncUpdateRpc } from '@livestore/sync-cf/client'
import { Effect } from '@livestore/utils/effect'
import { makeEvent, events, schema, todos } from './schema.js'
import { callRaw, pack, put, record, recorded, transcribed, unpacked } from './wire.js'

// The name under which the *sync worker* knows this class: it looks for the
// binding in its own environment to call `syncUpdateRpc`.
const BINDING_NAME = 'CLIENT'

const numbers = (syncState) => syncState.pending.map((event) => event.seqNum.global)

export class ClientObject extends DurableObject {
  // For transcripts. A new instance of an evicted object does not know its name.
  name = this.ctx.id.toString()
  born = Date.now()
  /** Kept, since an idle object loses its memory. */
  updates = this.ctx.blockConcurrencyWhile(async () => {
    const kept = await this.ctx.storage.list({ prefix: 'update:' })
    return [...kept.values()]
  })
  /** The stores that it was told with them. */
  stores = []
  /** Whether each was bytes. */
  packed = []
  callback = 'ok'
  /** Callbacks that hang, until the mode is another. */
  released = []
  /** By the keys of their commands. */
  answers = {}
  raw = false

  /** The store is opened by the first command that needs it, as an app would. */
  open(client, storeId, livePull = true) {
    this.store ??= createStoreDoPromise({
      schema,
      storeId,
      clientId: client,
      sessionId: 'static',
      durableObject: { ctx: this.ctx, env: this.env, bindingName: BINDING_NAME },
      syncBackendStub: recorded(this.sync(storeId), this.name),
      livePull,
    })
    return this.store
  }

  sync(storeId) {
    return this.env.SYNC.get(this.env.SYNC.idFromName(storeId))
  }

  /** What the sync object calls with new events. */
  async syncUpdateRpc(payload, storeId) {
    this.stores.push(storeId ?? null)
    this.packed.push(payload instanceof Uint8Array)
    // LiveStore's main branch is told packed bytes, 0.4.0 the message itself.
    const told = payload instanceof Uint8Array ? unpacked(payload) : { json: payload }
    put({ kind: 'callback', object: this.name, mode: this.callback, ...told, ...(storeId && { storeId }) })
    await this.note(told.json)
    if (this.callback === 'throw') throw new Error('this callback throws')
    while (this.callback === 'hang') await new Promise((resolve) => this.released.push(resolve))
    // LiveStore's mailboxes are found by request id alone, in the whole isolate:
    // the made-up ids of raw requests would reach other objects' stores.
    if (!this.raw) await handleSyncUpdateRpc(...(handleSyncUpdateRpc.length > 1 ? [this.ctx] : []), payload)
  }

  async note(payload) {
    const updates = await this.updates
    const number = updates.push(payload)
    // The storage of an open client is LiveStore's.
    if (!this.store) await this.ctx.storage.put(`update:${String(number).padStart(6, '0')}`, payload)
  }

  /** One command; what has the key of an earlier one is answered as that was. */
  async command(client, storeId, command, { key, ...body }) {
    this.name = `${client}/${storeId}`
    const found = this.commands[command]
    if (found === undefined) throw new Error(`no command is named ${command}`)
    if (key === undefined) return found(body, client, storeId)
    this.answers[key] ??= found(body, client, storeId)
    return this.answers[key]
  }

  commands = {
    open: async ({ livePull }, client, storeId) => {
      await this.open(client, storeId, livePull)
      return {}
    },
    commit: async (body, client, storeId) => {
      const store = await this.open(client, storeId)
      store.commit(...body.events.map(makeEvent))
      return {}
    },
    large: async ({ id, bytes }, client, storeId) => {
      const store = await this.open(client, storeId)
      store.commit(events.TodoCreated({ id, title: 'x'.repeat(bytes) }))
      return {}
    },
    state: async (_body, client, storeId) => {
      const store = await this.open(client, storeId)
      const { clientSession, syncProcessor } = store[StoreInternalsSymbol]
      const { session, leader } = await Effect.runPromise(
        Effect.all({ session: syncProcessor.syncState, leader: clientSession.leaderThread.syncState }),
      )
      const rows = store.query(todos).map(({ id, title, completed }) => ({ id, title, completed }))
      return {
        todos: rows.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)),
        // As in ../driver.mjs: 0 means that the server has it all, and the client knows.
        pending: new Set([...numbers(session), ...numbers(leader)]).size,
        head: leader.upstreamHead.global,
      }
    },
    log: async (_body, client, storeId) => {
      await this.open(client, storeId)
      // The event log is a table of the object's own SQLite.
      const rows = this.ctx.storage.sql.exec('SELECT * FROM eventlog ORDER BY seqNumGlobal, seqNumClient')
      return {
        events: [...rows].map((row) => ({
          seqNum: row.seqNumGlobal,
          parentSeqNum: row.parentSeqNumGlobal,
          name: row.name,
          args: JSON.parse(row.argsJson ?? 'null'),
          clientId: row.clientId,
        })),
      }
    },
    shutdown: async () => {
      const store = await this.store
      this.store = undefined
      await store?.shutdownPromise()
      return {}
    },
    // A new instance answers the next request; what is in storage stays.
    evict: async () => this.ctx.abort('evicted by the test'),

    raw: async ({ send, hex, records }, client, storeId) => {
      this.raw = true
      const bytes = hex === undefined ? pack(send, { records }) : Uint8Array.from(Buffer.from(hex, 'hex'))
      return callRaw(recorded(this.sync(storeId), this.name), bytes)
    },
    object: async (_body, _client, storeId) => ({
      born: this.born,
      sync: this.sync(storeId).id.toString(),
      callerContext: { bindingName: BINDING_NAME, durableObjectId: this.ctx.id.toString() },
    }),
    updates: async () => ({ updates: await this.updates, stores: this.stores, packed: this.packed }),
    callback: async ({ mode }) => {
      this.callback = mode
      for (const release of this.released.splice(0)) release()
      return {}
    },
  }
}

const answer = async (request, env) => {
  const { pathname } = new URL(request.url)
  const text = await request.text()
  const body = text === '' ? {} : JSON.parse(text)
  const [client, storeId, command] = pathname.slice(1).split('/').map(decodeURIComponent)
  if (client === 'transcript') {
    if (request.method === 'GET') return { transcript: transcribed() }
    if (body.note === undefined) record()
    else put({ kind: 'note', ...body })
    return { ok: 'transcript' }
  }
  if (command === undefined) return { ok: 'ready' }
  const object = env.CLIENT.get(env.CLIENT.idFromName(`${client}/${storeId}`))
  return { ok: command, ...(await object.command(client, storeId, command, body)) }
}

export default {
  async fetch(request, env) {
    // WebSocket and HTTP clients of the same stores come in by the same port.
    if (new URL(request.url).searchParams.has('storeId')) return env.SYNC_WORKER.fetch(request)
    try {
      return Response.json(await answer(request, env))
    } catch (error) {
      return Response.json({ error: String(error?.message || error) }, { status: 500 })
    }
  },
}
