// Two real clients against one server:
//   node check.mjs 0.4.0|0.3.1 ws|http URL [oracle]
// Says what it does on stderr, ends with "ok" and code 0 or with the failure.
// `oracle` leaves out what the original server gets wrong.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const [version, transport, url, oracle] = process.argv.slice(2)
const store = `check-${randomUUID().slice(0, 8)}`
const scratch = mkdtempSync(join(tmpdir(), 'livestore-check-'))
const children = new Set()

const open = async (id, ...more) => {
  const program = join(import.meta.dirname, `livestore-${version}`, 'client.mjs')
  const args = [program, '--transport', transport, '--url', url, '--store', store, '--client', id, ...more]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', process.env.VERBOSE ? 'inherit' : 'ignore'] })
  children.add(child)
  const exited = once(child, 'exit').finally(() => children.delete(child))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const answer = async (ok) => {
    const { value, done } = await lines.next()
    assert.ok(!done, `client ${id} ended without an answer`)
    const line = JSON.parse(value)
    assert.equal(line.ok, ok, value)
    return line
  }
  const ask = (line) => {
    child.stdin.write(`${JSON.stringify(line)}\n`)
    return answer(line.do)
  }
  await answer('ready')
  return {
    ask,
    todos: (...ids) =>
      ask({ do: 'commit', events: ids.map((id) => ({ name: 'TodoCreated', id, title: `todo ${id}` })) }),
    close: async () => {
      await ask({ do: 'shutdown' })
      assert.equal((await exited)[0], 0)
    },
  }
}

/** Waits until every client has nothing pending, and all of `count` todos. */
const settled = async (count, ...clients) => {
  const deadline = Date.now() + 30_000
  for (;;) {
    const states = await Promise.all(clients.map((client) => client.ask({ do: 'state' })))
    if (states.every(({ todos, pending }) => pending === 0 && todos.length === count)) {
      const logs = await Promise.all(clients.map((client) => client.ask({ do: 'log' })))
      for (const { events } of logs) {
        assert.deepEqual(events, logs[0].events, 'the logs differ')
        assert.ok(events.every((event, i) => event.seqNum === i + 1), 'the log has a gap')
      }
      return states
    }
    assert.ok(Date.now() < deadline, JSON.stringify(states.map((s) => ({ ...s, todos: s.todos.length }))))
    await sleep(50)
  }
}

try {
  const dir = ['--dir', join(scratch, 'a')]
  let a = await open('client-a', ...dir)
  const b = await open('client-b')

  console.error('both directions')
  await a.todos('a1')
  await settled(1, a, b)
  await b.todos('b1')
  // An event without args comes back from the original server's storage with
  // `args: null`, which an HTTP client takes for somebody else's event: it
  // rebases its own, pushes it again, and so on for ever.
  const pinged = oracle && transport === 'http' ? [] : [{ name: 'Pinged' }]
  await b.ask({ do: 'commit', events: [{ name: 'TodoCompleted', id: 'a1' }, ...pinged] })
  const [{ todos }] = await settled(2, a, b)
  assert.deepEqual(todos[0], { id: 'a1', title: 'todo a1', completed: true })

  console.error('concurrent commits')
  for (let i = 0; i < 5; i++) await Promise.all([a.todos(`a-${i}`, `a-${i}'`), b.todos(`b-${i}`)])
  await settled(17, a, b)

  console.error('250 events in one commit')
  await a.todos(...Array.from({ length: 250 }, (_, i) => `many-${i}`))
  await settled(267, a, b)

  console.error('a large event')
  await a.ask({ do: 'large', id: 'large', bytes: 100_000 })
  await settled(268, a, b)

  console.error('restart from the file system')
  await a.close()
  await b.todos('while-a-was-away')
  await settled(269, b)
  a = await open('client-a', ...dir)
  await a.todos('back')
  await settled(270, a, b)

  console.error('a third client from nothing')
  const c = await open('client-c')
  await settled(270, a, b, c)
  await Promise.all([a.close(), b.close(), c.close()])
  console.log('ok')
} finally {
  for (const child of children) child.kill()
  rmSync(scratch, { recursive: true, force: true })
}
