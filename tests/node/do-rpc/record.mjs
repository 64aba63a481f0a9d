// Writes the transcripts ../../fixtures/wire/do-rpc-*.jsonl, from a server with
// no state behind it: see README.md.
//
//     node record.mjs URL FOLDER [COMMIT] [NAME]
//
// COMMIT: the server is of this commit of LiveStore's main branch, whose ids are numbers,
// and which takes no event without args. NAME is the beginning of a transcript's name.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Packr } from 'msgpackr'

const [url, folder, next, beginning = ''] = process.argv.slice(2)

const call = async (path, body = {}) => {
  const response = await fetch(`${url}/${path}`, { method: 'POST', body: JSON.stringify(body) })
  return response.json()
}
const note = (text) => call('transcript', { note: text })

/** Waits until what a client is shown passes, or notes that it never did. */
const until = async (client, passes, seconds = 10) => {
  const shown = async () => {
    const { todos, pending, head } = await call(`${client}/state`)
    return { todos: todos.length, pending, head }
  }
  for (let tries = 0; tries < seconds * 10; tries++) {
    const state = await shown()
    if (passes(state)) return note(`${client} shows ${JSON.stringify(state)}`)
    await sleep(100)
  }
  return note(`after ${seconds} s ${client} still shows ${JSON.stringify(await shown())}`)
}
const settled = (head) => (state) => state.pending === 0 && state.head === head

const created = (id) => ({ name: 'TodoCreated', id, title: `todo ${id}` })
const commit = async (client, ...events) => {
  await note(`${client} commits ${events.length} event(s)`)
  await call(`${client}/commit`, { events })
}

const event = (seqNum, args = { id: `t${seqNum}`, title: `todo ${seqNum}` }) => ({
  name: 'v1.TodoCreated',
  args,
  seqNum,
  parentSeqNum: seqNum - 1,
  clientId: 'client-r',
  sessionId: 'static',
})
const events = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => event(from + index))
const none = { _tag: 'None' }
const some = (value) => ({ _tag: 'Some', value })

let id = 0
const request = (tag, payload, more = {}) => ({
  _tag: 'Request',
  id: next === undefined ? String(id++) : id++,
  tag: `SyncDoRpc.${tag}`,
  payload,
  headers: [],
  ...more,
})
/** The values packed one after the other, without a list around them. */
const hex = (...values) => {
  const packr = new Packr({ useRecords: true })
  return values.map((value) => packr.pack(value).toString('hex')).join('')
}
const pull = (storeId, cursor = none, more = {}) => request('Pull', { storeId, cursor, ...more })
const push = (storeId, batch, backendId = none) => request('Push', { storeId, batch, backendId })
const live = async (object) => ({ rpcContext: { callerContext: (await call(`${object}/object`)).callerContext } })

/** Sends what is packed (`send`) or the bytes themselves (`hex`). */
const raw = async (object, text, body) => {
  await note(text)
  const answer = await call(`${object}/raw`, body)
  // Callbacks come on their own, after the answer too.
  await sleep(250)
  return answer
}
/** A list of requests in one call, as clients send it (they always send one). */
const send = (object, text, ...requests) => raw(object, text, { send: requests })
const backendIdOf = (answer) => answer.pieces[0].messages[0].values[0].backendId

const scenarios = {
  '01-real-client': async (store) => {
    const a = `a/${store}`
    await note(`${a} opens an empty store`)
    await call(`${a}/open`)
    await commit(a, created('1'))
    await until(a, settled(1))
    await commit(a, { name: 'Pinged' }, created('2'), { name: 'TodoCompleted', id: '1' })
    await until(a, settled(4))
    await note(`${a} shuts down and opens again: it pulls with a cursor`)
    await call(`${a}/shutdown`)
    await call(`${a}/open`)
    await commit(a, created('3'))
    await until(a, settled(5))
    await note(`${a} commits 120 events at once`)
    await call(`${a}/commit`, { events: Array.from({ length: 120 }, (_, index) => created(`m${index}`)) })
    await until(a, settled(125), 20)
    await note(`b/${store} opens the store of 125 events: what it pulls arrives in pieces`)
    await until(`b/${store}`, settled(125))
  },

  '02-real-two-clients': async (store) => {
    const [a, b] = [`a/${store}`, `b/${store}`]
    await call(`${a}/open`)
    await commit(a, created('1'))
    await until(a, settled(1))
    await note(`${b} opens: its live pull takes the place of that of ${a}, the original keeps one a store`)
    await call(`${b}/open`)
    await commit(b, created('2'))
    await until(b, settled(2))
    await until(a, settled(2), 2)
    await note(`${a}, which was told nothing, commits: ServerAheadError, then it waits for a pull that never comes`)
    await commit(a, created('3'))
    await until(a, settled(3), 4)
    await note(`${a} shuts down and opens again: it pulls, rebases and pushes; now its live pull is the one`)
    await call(`${a}/shutdown`)
    await call(`${a}/open`)
    await until(a, settled(3))
    await commit(a, created('4'))
    await until(a, settled(4))
  },

  '03-real-conflict': async (store) => {
    const [a, r] = [`a/${store}`, `r/${store}`]
    await call(`${a}/open`)
    await commit(a, created('1'))
    await until(a, settled(1))
    await note(`${a} commits while another object's events arrive: ServerAheadError, callbacks, rebase, push`)
    await Promise.all([
      ...[2, 3, 4, 5].map((seqNum) => call(`${r}/raw`, { send: [push(store, [event(seqNum)])] })),
      ...[0, 20, 40, 60].map((ms) => sleep(ms).then(() => call(`${a}/commit`, { events: [created(`c${ms}`)] }))),
    ])
    await until(a, settled(9))
  },

  '04-real-eviction': async (store) => {
    const [a, r] = [`a/${store}`, `r/${store}`]
    await call(`${a}/open`)
    await send(r, 'r pushes 1: a callback to a', push(store, [event(1)]))
    await until(a, settled(1))
    await note(`${a} is evicted`)
    await call(`${a}/evict`)
    await send(r, 'r pushes 2: the callback wakes a new instance of a, without a store', push(store, [event(2)]))
    await note('the new instance opens its store: it pulls from its cursor')
    await until(a, settled(2))
    await send(r, 'r pushes 3: a callback with the id of the new pull', push(store, [event(3)]))
    await until(a, settled(3))
  },

  '05-real-not-live': async (store) => {
    const [a, r] = [`a/${store}`, `r/${store}`]
    await send(r, 'r pushes 1', push(store, [event(1)]))
    await note(`${a} opens the store without a live pull`)
    await call(`${a}/open`, { livePull: false })
    await commit(a, created('2'))
    await sleep(1_000)
    await send(r, 'r pushes 3: nobody is told', push(store, [event(3)]))
  },

  '10-raw-requests': async (store) => {
    const r = `r/${store}`
    await send(r, 'Ping', request('Ping', { storeId: store }))
    const backendId = backendIdOf(await send(r, 'Pull, empty store', pull(store)))
    await send(r, 'Push of an empty batch', push(store, []))
    await send(r, 'Push 1, backendId None', push(store, [event(1)]))
    await send(r, 'Push 2 and 3, the right backendId', push(store, events(2, 3), some(backendId)))
    await send(r, 'Push without args', push(store, [{ ...event(4), name: 'v1.Pinged', args: undefined }]))
    await send(r, 'Push, stale parent', push(store, [event(4)], some(backendId)))
    await send(r, 'Push, future parent', push(store, [event(9)], some(backendId)))
    await send(r, 'Push, wrong backendId', push(store, [event(5)], some('wrong')))
    await send(r, 'Push, wrong backendId and an empty batch', push(store, [], some('wrong')))
    await send(r, 'Pull, no cursor', pull(store))
    for (const eventSequenceNumber of [0, 2, 4, 9]) {
      await send(r, `Pull, cursor ${eventSequenceNumber}`, pull(store, some({ backendId, eventSequenceNumber })))
    }
    await send(r, 'Pull, wrong backendId', pull(store, some({ backendId: 'wrong', eventSequenceNumber: 0 })))
    await send(r, 'Pull, another storeId than the object was first used with', pull(`${store}-other`))
    await send(r, 'Push, another storeId', push(`${store}-other`, [event(5)]))
    await send(r, 'Pull with a payload', pull(store, none, { payload: { authToken: 'x' } }))
    await note('two calls at the same time, the first of a batch is the same event: one has to lose')
    await Promise.all([1, 2].map(() => call(`${r}/raw`, { send: [push(store, [event(6)])] })))
  },

  '11-raw-cold-pull': async (store) => {
    const r = `r/${store}`
    await note('250 events are pushed, 50 a call')
    for (let from = 1; from <= 250; from += 50) await call(`${r}/raw`, { send: [push(store, events(from, from + 49))] })
    await send(r, 'Pull of 250 events', pull(store))
    await send(r, 'Push of 101 events', push(store, events(251, 351)))
  },

  '12-raw-malformed': async (store) => {
    const r = `r/${store}`
    const odd = (text, value, more) => raw(r, text, { send: value, ...more })
    await send(r, 'Pull: the store exists', pull(store))
    await odd('[[request]], two lists', [[pull(store)]])
    await odd('a request without a list', pull(store))
    await odd('an empty list', [])
    await odd('null', null)
    await odd('a string', 'x')
    await odd('a list of null', [null])
    await odd('a map and not a record', [pull(store)], { records: false })
    await raw(r, 'no bytes', { hex: '' })
    await raw(r, 'bytes that end too early', { hex: '91d47240' })
    await raw(r, 'not MessagePack: 0xc1', { hex: 'c1' })
    await raw(r, 'JSON text', { hex: Buffer.from(JSON.stringify([pull(store)])).toString('hex') })
    const ping = () => [request('Ping', { storeId: store })]
    await raw(r, 'two lists of one Ping, one after the other', { hex: hex(ping(), ping()) })
    await send(r, 'unknown tag', request('Nope', { storeId: store }))
    await send(r, 'a tag of another transport', request('x', { storeId: store }, { tag: 'SyncWsRpc.Pull' }))
    await odd('Interrupt', [{ _tag: 'Interrupt', requestId: '1' }])
    await odd('Ack', [{ _tag: 'Ack', requestId: '1' }])
    await send(r, 'id missing', { ...pull(store), id: undefined })
    await send(r, next === undefined ? 'id a number' : 'id a string', { ...pull(store), id: next === undefined ? 7 : '7' })
    await send(r, 'id not a number', { ...pull(store), id: 'abc' })
    await send(r, 'headers missing', { ...pull(store), headers: undefined })
    await send(r, 'payload missing', { ...pull(store), payload: undefined })
    await send(r, 'Pull without a cursor', request('Pull', { storeId: store }))
    await send(r, 'Pull without a storeId', request('Pull', { cursor: none }))
    await send(r, 'Push without a batch', request('Push', { storeId: store, backendId: none }))
    await send(r, 'Push of an event without a name', push(store, [{ ...event(1), name: undefined }]))
    await send(r, 'two Pings in one list', request('Ping', { storeId: store }), request('Ping', { storeId: store }))
    await send(r, 'two Pushes in one list', push(store, [event(1)]), push(store, [event(2)]))
    await send(r, 'two Pulls in one list', pull(store), pull(store))
    await send(r, 'Push and Pull in one list', push(store, [event(3)]), pull(store))
    await send(r, 'still alive: Pull', pull(store))
    const odder = `${store}-odder`
    await send(`r/${odder}`, 'a store for itself: Push, seqNum a string', push(odder, [{ ...event(1), seqNum: '1' }]))
  },

  '13-raw-callbacks': async (store) => {
    const [r, s, w] = [`r/${store}`, `s/${store}`, `w/${store}`]
    const backendId = backendIdOf(
      await send(r, 'live Pull by r: it ends; events come as callbacks', pull(store, none, await live(r))),
    )
    const at = (eventSequenceNumber) => some({ backendId, eventSequenceNumber })
    await send(w, 'w pushes: a callback to r', push(store, [event(1)]))
    await send(r, 'r pushes: a callback to r itself', push(store, [event(2)]))
    await send(r, 'r pulls live again: the new id only', pull(store, at(2), await live(r)))
    await send(w, 'w pushes 3', push(store, [event(3)]))
    await send(w, 'w pushes 101 events: two callbacks', push(store, events(4, 104)))
    const args = next === undefined ? undefined : null
    await send(w, 'w pushes without args', push(store, [{ ...event(105), name: 'v1.Pinged', args }]))
    await call(`${r}/callback`, { mode: 'throw' })
    await send(w, 'the callback of r throws', push(store, [event(106)]))
    await call(`${r}/callback`, { mode: 'ok' })
    await send(w, 'it throws no more, and still has its place', push(store, [event(107)]))
    await send(s, 'live Pull by s: r loses its place', pull(store, at(107), await live(s)))
    await send(w, 'w pushes: a callback to s only', push(store, [event(108)]))
    const { rpcContext } = await live(s)
    const context = (more) => ({ rpcContext: { callerContext: { ...rpcContext.callerContext, ...more } } })
    await send(s, 'live Pull, a binding that is not there', pull(store, at(108), context({ bindingName: 'NO' })))
    await send(w, 'w pushes: nobody is told', push(store, [event(109)]))
    await send(s, 'live Pull, an object id that is none', pull(store, at(109), context({ durableObjectId: 'x' })))
    await send(w, 'w pushes: nobody is told', push(store, [event(110)]))
    const wrong = some({ backendId: 'wrong', eventSequenceNumber: 0 })
    await send(s, 'live Pull, wrong backendId', pull(store, wrong, await live(s)))
    await send(w, 'w pushes: s is told all the same', push(store, [event(111)]))
  },
}

for (const [name, run] of Object.entries(scenarios)) {
  if (!name.startsWith(beginning)) continue
  id = 0
  await call('transcript')
  if (next !== undefined) await note(`livestorejs/livestore ${next}`)
  await run(`do-rpc-${name}`)
  const { transcript } = await (await fetch(`${url}/transcript`)).json()
  const lines = transcript.map((entry) => `${JSON.stringify(entry)}\n`).join('')
  await writeFile(join(folder, `do-rpc-${name}.jsonl`), lines)
  console.log(`do-rpc-${name}: ${transcript.length} entries`)
}
