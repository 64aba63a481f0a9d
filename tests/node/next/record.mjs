// Writes ../../fixtures/wire/next/ws-*.jsonl and http-*.jsonl, from a server of
// LiveStore's main branch with no state behind it: see README.md.
//
//     node record.mjs BUILD URL FOLDER [NAME…]
//
// BUILD is what prepare.mjs made; NAME is the beginning of a transcript's name.
import { spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { raw } from './record-raw.mjs'
import { openTap } from './tap.mjs'

const [build, target, folder, ...names] = process.argv.slice(2)
const COMMIT = '282e88a'
/** Lines that are longer are cut in transcripts marked `cut`. */
const LINE_CHARACTERS_MAX = 4_000

/** A real client, as ../driver.mjs drives it. */
const client = async (store, id, { url, transport = 'ws', payload, pollMs = 400 }) => {
  const more = payload === undefined ? [] : ['--payload', JSON.stringify(payload)]
  const program = [join(build, 'client.mjs'), '--transport', transport, '--url', url, '--store', store, '--client', id]
  const child = spawn(process.execPath, [...program, '--poll-ms', String(pollMs), ...more], {
    stdio: ['pipe', 'pipe', process.env.VERBOSE ? 'inherit' : 'ignore'],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const answer = async () => JSON.parse((await lines.next()).value ?? '{"error":"ended"}')
  const ask = (line) => {
    child.stdin.write(`${JSON.stringify(line)}\n`)
    return answer()
  }
  await answer()
  return {
    ask,
    commit: (...events) => ask({ do: 'commit', events }),
    /** Waits until everything is in the log and pulled; false when it never is. */
    settled: async (head, seconds = 15) => {
      for (let tries = 0; tries < seconds * 10; tries++) {
        const state = await ask({ do: 'state' })
        if (state.pending === 0 && state.head === head) return true
        if (state.error) return false
        await sleep(100)
      }
      return false
    },
    state: () => ask({ do: 'state' }),
    close: () => ask({ do: 'shutdown' }),
    kill: () => child.kill('SIGKILL'),
  }
}

const created = (id, title = `todo ${id}`) => ({ name: 'TodoCreated', id, title })
const must = (settled, what) => {
  if (!settled) throw new Error(`${what} never settled`)
}

const real = {
  'ws-01-real-client-lifecycle': async ({ store, note, url }) => {
    note('A: createStore (in-memory), syncPayload {authToken:"secret"}')
    const a = await client(store, 'client-a', { url, payload: { authToken: 'secret' } })
    await sleep(1_000)
    note('A: commit 1 event')
    await a.commit(created('t1', 'one'))
    must(await a.settled(1), 'one event')
    note('A: commit 3 events in one commit')
    await a.commit(created('t2'), created('t3'), { name: 'TodoCompleted', id: 't1' })
    must(await a.settled(4), 'three events')
    note('idle 12s => periodic ping (10s)')
    await sleep(12_000)
    note('A: shutdown')
    await a.close()
  },

  'ws-02-real-two-clients-broadcast': async ({ store, note, url }) => {
    const a = await client(store, 'client-a', { url })
    await sleep(700)
    await a.commit(created('a1'))
    must(await a.settled(1), 'a')
    note('B opens the store')
    const b = await client(store, 'client-b', { url })
    must(await b.settled(1), 'b')
    note('A: commit')
    await a.commit(created('a2'))
    must((await a.settled(2)) && (await b.settled(2)), 'both')
    note('B: commit')
    await b.commit(created('b1'))
    must((await a.settled(3)) && (await b.settled(3)), 'both')
    await sleep(300)
    note('shutdown')
    await b.close()
    await sleep(300)
    await a.close()
  },

  'ws-03-real-reconnect': async ({ store, note, url, cut }) => {
    const a = await client(store, 'client-a', { url })
    await sleep(700)
    await a.commit(created('a1'), created('a2'))
    must(await a.settled(2), 'a')
    note('the connection is cut: A opens another, and never pulls again')
    cut()
    // It knows that it is connected when its next Ping is answered.
    await sleep(13_000)
    note('A: commit: it is pushed, and stays pending')
    await a.commit(created('a3'))
    await sleep(2_000)
    note(`A says: ${JSON.stringify(await a.state())}`)
    note('A shuts down')
    await a.close()
  },

  'ws-04-real-conflict-rebase': async ({ store, note, url }) => {
    const a = await client(store, 'client-a', { url })
    const b = await client(store, 'client-b', { url })
    await sleep(1_500)
    note('A and B commit concurrently (3 each)')
    await Promise.all(
      [a, b].map(async (it, index) => {
        for (let n = 0; n < 3; n++) await it.commit(created(`${'ab'[index]}${n}`, 'ab'[index]))
      }),
    )
    must((await a.settled(6, 30)) && (await b.settled(6, 30)), 'both')
    await sleep(300)
    note('shutdown')
    await a.close()
    await sleep(300)
    await b.close()
  },

  'ws-05-real-large': async ({ store, note, url }) => {
    const a = await client(store, 'client-a', { url })
    await sleep(1_000)
    note('A: one commit of 250 events => pushes of at most 100')
    await a.commit(...Array.from({ length: 250 }, (_, n) => created(`m${n}`)))
    must(await a.settled(250, 60), 'a')
    note('B opens the store of 250 events')
    const b = await client(store, 'client-b', { url })
    must(await b.settled(250, 30), 'b')
    await sleep(300)
    await b.close()
    await sleep(300)
    await a.close()
  },

  'ws-06-real-large-bytes': async ({ store, note, url }) => {
    const a = await client(store, 'client-a', { url })
    await sleep(1_000)
    note('A: 5 events of 300 KB => pushes of at most 900 000 bytes')
    for (let n = 0; n < 5; n++) await a.ask({ do: 'large', id: `l${n}`, bytes: 300_000 })
    must(await a.settled(5, 60), 'a')
    note('B opens the store')
    const b = await client(store, 'client-b', { url })
    must(await b.settled(5, 30), 'b')
    await b.close()
    await a.close()
  },

  'ws-07-real-other-backend': async ({ store, note, url, cut, lead }) => {
    const a = await client(store, 'client-a', { url })
    await sleep(1_000)
    await a.commit(created('a1'))
    must(await a.settled(1), 'a')
    note('the connection is cut; the next one gets to a server that has lost the store: BackendIdMismatchError')
    lead((to) => to.replace(store, `${store}-lost`))
    cut()
    await sleep(13_000)
    note('A: commit')
    await a.commit(created('a2'))
    await sleep(3_000)
    note(`A says: ${JSON.stringify(await Promise.race([a.state(), sleep(2_000)]))}`)
    a.kill()
  },

  'ws-08-real-event-without-args': async ({ store, note, url }) => {
    const a = await client(store, 'client-a', { url })
    await sleep(1_000)
    note('A: an event with Schema.Void arguments, which the server refuses for its missing args')
    await a.commit({ name: 'Pinged' })
    await sleep(3_000)
    note(`A says: ${JSON.stringify(await a.state())}`)
    await a.close()
  },

  'http-01-real-clients': async ({ store, note, url }) => {
    const more = { url, transport: 'http', payload: { authToken: 'secret' }, pollMs: 700 }
    note('A: createStore (syncPayload {authToken})')
    const a = await client(store, 'client-a', more)
    await sleep(1_000)
    note('A: commit 1')
    await a.commit(created('t1', 'one'))
    must(await a.settled(1), 'a')
    note('B: createStore')
    const b = await client(store, 'client-b', { ...more, payload: undefined })
    must(await b.settled(1), 'b')
    note('A: commit 3')
    await a.commit(created('t2'), created('t3'), { name: 'TodoCompleted', id: 't1' })
    must((await a.settled(4)) && (await b.settled(4)), 'both')
    note('A and B commit concurrently')
    await Promise.all([a.commit(created('a1')), b.commit(created('b1'))])
    must((await a.settled(6, 30)) && (await b.settled(6, 30)), 'both')
    note('shutdown')
    await b.close()
    await a.close()
  },

  'http-03-real-large': async ({ store, note, url }) => {
    const more = { url, transport: 'http', pollMs: 2_000 }
    const a = await client(store, 'client-a', more)
    await sleep(1_000)
    note('A: one commit of 250 events => pushes of at most 100')
    await a.commit(...Array.from({ length: 250 }, (_, n) => created(`m${n}`)))
    must(await a.settled(250, 60), 'a')
    note('B opens the store of 250 events: all Chunks and the Exit in one list')
    const b = await client(store, 'client-b', more)
    must(await b.settled(250, 30), 'b')
    await b.close()
    await a.close()
  },
}

const cutLine = (line) => {
  const text = JSON.stringify(line)
  if (text.length <= LINE_CHARACTERS_MAX) return text
  const { json, response, ...rest } = line
  return JSON.stringify({
    ...rest,
    ...(json && { characters: JSON.stringify(json).length, cut: JSON.stringify(json).slice(0, 500) }),
    ...(response && { responseCharacters: JSON.stringify(response).length, responseCut: JSON.stringify(response).slice(0, 500) }),
  })
}
/**
 * Marks what only this server says: to a connection that is closed, and, of
 * new events, to a Pull that has had its Exit.
 */
const withFaults = (lines) => {
  const closed = new Set()
  const ended = new Set()
  return lines.map((line) => {
    const { send, receive, close, json } = line
    if (close !== undefined) closed.add(close)
    if (send !== undefined && json?._tag === 'Request') ended.delete(`${send} ${json.id}`)
    if (receive === undefined) return line
    const request = `${receive} ${json?.requestId}`
    const fault = closed.has(receive) || (json?._tag === 'Chunk' && ended.has(request))
    if (json?._tag === 'Exit') ended.add(request)
    return fault ? { ...line, fault } : line
  })
}
const CUT = ['ws-06-real-large-bytes', 'ws-17-raw-large']

await mkdir(folder, { recursive: true })
for (const [name, scenario] of Object.entries({ ...real, ...raw })) {
  if (names.length > 0 && !names.some((it) => name.startsWith(it))) continue
  const lines = []
  let route = (url) => url
  const put = (line) => lines.push(line)
  const tap = await openTap(target, put, { route: (url) => route(url) })
  const note = (text) => put({ note: text })
  note(`livestorejs/livestore ${COMMIT}`)
  const store = `next-${name.split('-').slice(0, 2).join('-')}-${Math.random().toString(36).slice(2, 8)}`
  try {
    await scenario({ store, note, url: tap.url, cut: tap.cut, put, lead: (to) => (route = to), target, WebSocket, sleep })
  } catch (error) {
    console.log(`${name}: ${error?.stack}`)
  }
  await sleep(500)
  tap.close()
  const text = withFaults(lines).map((line) => `${CUT.includes(name) ? cutLine(line) : JSON.stringify(line)}\n`).join('')
  await writeFile(join(folder, `${name}.jsonl`), text)
  console.log(`${name}: ${lines.length} lines, ${text.length} bytes`)
}
process.exit(0)
