// What the client programs of all LiveStore versions have in common: the
// command line, the JSON lines on stdin and stdout, and reading the event log.
// It imports nothing but Node's own modules, so that it works next to any
// LiveStore version; the version-specific parts come in through `run`.
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'

// stdout belongs to the protocol. LiveStore logs there through console.*, so
// everything else is sent to stderr.
const write = process.stdout.write.bind(process.stdout)
process.stdout.write = process.stderr.write.bind(process.stderr)
for (const level of ['log', 'info', 'debug']) console[level] = console.error

/** Writes a line of the protocol. */
export const say = (line) => new Promise((resolve) => write(`${JSON.stringify(line)}\n`, resolve))

const text = (error) => String(error?.message || error)

/** Says why and ends the process: nothing can be done with this client any more. */
const die = async (fatal) => {
  await say({ fatal: text(fatal) })
  process.exit(1)
}
process.on('unhandledRejection', die)
process.on('uncaughtException', die)

export const options = () => {
  const { values } = parseArgs({
    options: {
      transport: { type: 'string', default: 'ws' },
      url: { type: 'string' },
      store: { type: 'string' },
      client: { type: 'string' },
      dir: { type: 'string' },
      payload: { type: 'string' },
      'poll-ms': { type: 'string', default: '200' },
    },
  })
  for (const name of ['url', 'store', 'client']) {
    if (values[name] === undefined) throw new Error(`--${name} is missing`)
  }
  return {
    transport: values.transport,
    url: values.url,
    storeId: values.store,
    clientId: values.client,
    storage: values.dir === undefined ? { type: 'in-memory' } : { type: 'fs', baseDirectory: values.dir },
    payload: values.payload === undefined ? undefined : JSON.parse(values.payload),
    pollMs: Number(values['poll-ms']),
  }
}

/**
 * What Node 20 lacks, to be called before LiveStore is imported.
 * - Without a global `WebSocket` the clients silently never connect.
 * - adapter-node installs undici 7 as the global dispatcher, after which a
 *   built-in fetch that was never used before fails on explicit content-length.
 */
export const prepareNode = async (WebSocket) => {
  globalThis.WebSocket ??= WebSocket
  await (await fetch('data:,')).text()
}

/**
 * The wire transcripts' events on one table. Two clients may create the same
 * id, and the first in the log wins; unless ids are `unique`: then a client
 * that meets an event twice fails.
 */
export const todoSchema = ({ Events, makeSchema, Schema, State }, { unique = false } = {}) => {
  const text = Schema.String
  const todos = State.SQLite.table({
    name: 'todos',
    columns: {
      id: State.SQLite.text({ primaryKey: true }),
      title: State.SQLite.text(),
      completed: State.SQLite.boolean({ default: false }),
    },
  })
  const events = {
    TodoCreated: Events.synced({ name: 'v1.TodoCreated', schema: Schema.Struct({ id: text, title: text }) }),
    TodoCompleted: Events.synced({ name: 'v1.TodoCompleted', schema: Schema.Struct({ id: text }) }),
    Pinged: Events.synced({ name: 'v1.Pinged', schema: Schema.Void }),
  }
  const materializers = State.SQLite.materializers(events, {
    'v1.TodoCreated': ({ id, title }) => {
      const insert = todos.insert({ id, title, completed: false })
      return unique ? insert : insert.onConflict('id', 'ignore')
    },
    'v1.TodoCompleted': ({ id }) => todos.update({ completed: true }).where({ id }),
    'v1.Pinged': () => [],
  })
  const state = State.SQLite.makeState({ tables: { todos }, materializers })
  return { events, todos, schema: makeSchema({ events, state }) }
}

/**
 * Opens the client's event log (the bytes of an SQLite file) and returns the
 * events in order, with their global numbers.
 */
const readLog = (db, bytes) => {
  db.import(bytes)
  const rows = db.select('SELECT * FROM eventlog ORDER BY seqNumGlobal, seqNumClient', undefined)
  db.close()
  return rows.map((row) => ({
    seqNum: row.seqNumGlobal,
    parentSeqNum: row.parentSeqNumGlobal,
    name: row.name,
    args: JSON.parse(row.argsJson ?? 'null'),
    clientId: row.clientId,
  }))
}

const numbers = (syncState) => syncState.pending.map((event) => event.seqNum.global)

/**
 * Serves the protocol until the input ends. `client` has:
 *   store, events, todos
 *   syncStates()  => Promise of { session, leader }, each { pending, upstreamHead, localHead }
 *   eventlog()    => Promise of { db, bytes }: an empty database and the log's SQLite file
 *   shutdown()    => Promise
 *   ended         => Promise of the reason when the store shuts down by itself
 */
export const run = async (client) => {
  const { store, events, todos } = client

  const make = ({ name, ...args }) => {
    if (!Object.hasOwn(events, name)) throw new Error(`no event is named ${name}`)
    return name === 'Pinged' ? events.Pinged() : events[name](args)
  }

  const commands = {
    commit: ({ events }) => {
      store.commit(...events.map(make))
    },
    large: ({ id, bytes }) => {
      store.commit(events.TodoCreated({ id, title: 'x'.repeat(bytes) }))
    },
    state: async () => {
      const rows = store.query(todos).map(({ id, title, completed }) => ({ id, title, completed }))
      const { session, leader } = await client.syncStates()
      return {
        todos: rows.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)),
        // A committed event is pending in the session until the leader has
        // taken it, then in the leader until it has come back in a pull. For a
        // moment it is in both, hence the set. 0 means: the server has it all,
        // and the client knows.
        pending: new Set([...numbers(session), ...numbers(leader)]).size,
        head: leader.upstreamHead.global,
      }
    },
    log: async () => {
      const { db, bytes } = await client.eventlog()
      return { events: readLog(db, bytes) }
    },
  }

  let ending = false
  const end = async () => {
    ending = true
    await client.shutdown()
    await say({ ok: 'shutdown' })
    process.exit(0)
  }
  client.ended.then((reason) => {
    if (!ending) die(`store shut down: ${reason}`)
  })

  await say({ ok: 'ready' })
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === '') continue
    try {
      const command = JSON.parse(line)
      if (command.do === 'shutdown') break
      if (!Object.hasOwn(commands, command.do)) throw new Error(`no command is named ${command.do}`)
      await say({ ok: command.do, ...(await commands[command.do](command)) })
    } catch (error) {
      await say({ error: text(error) })
    }
  }
  await end()
}
