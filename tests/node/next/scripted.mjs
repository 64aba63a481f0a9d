// What a client of LiveStore's main branch does when a server answers in this
// way or that: node build/scripted.mjs build [NAME]
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocketServer } from 'ws'

const [build, name = ''] = process.argv.slice(2)

const event = (seqNum, more = {}) => ({
  eventEncoded: {
    name: 'v1.TodoCreated',
    args: { id: `t${seqNum}`, title: 'x' },
    seqNum,
    parentSeqNum: seqNum - 1,
    clientId: 'other',
    sessionId: 'static',
    ...more,
  },
  metadata: { _tag: 'None' },
})
const pinged = (args) => event(1, { name: 'v1.Pinged', args })
const value = (batch, more = {}) => ({ batch, pageInfo: { _tag: 'NoMore' }, backendId: 'b', ...more })
const chunk = (requestId, ...values) => ({ _tag: 'Chunk', requestId, values })
const exit = (requestId, exit) => ({ _tag: 'Exit', requestId, exit })
const failure = (...cause) => ({ _tag: 'Failure', cause })
const success = { _tag: 'Success', value: {} }
const empty = (id) => [chunk(id, value([]))]
const unknown = { _tag: 'UnknownError', cause: { name: 'Error', message: 'why' } }

/** What a push of one event is answered with: frames, or the code of a close. */
const pushed = (push, commit = { name: 'TodoCreated', id: 'a', title: 'x' }) => ({ pull: empty, push, commit })
/** The own event as it comes back, with other arguments. */
const back = (args) =>
  pushed(
    (id, { batch }) => [
      chunk(0, value(batch.map((eventEncoded) => ({ eventEncoded: { ...eventEncoded, args }, metadata: { _tag: 'None' } })))),
      exit(id, success),
    ],
    { name: 'Pinged' },
  )

const scenarios = {
  'an event': { pull: (id) => [chunk(id, value([event(1)]))] },
  'an event without args': { pull: (id) => [chunk(id, value([pinged(undefined), event(2)]))] },
  'args null': { pull: (id) => [chunk(id, value([pinged(null), event(2)]))] },
  'args {}': { pull: (id) => [chunk(id, value([pinged({}), event(2)]))] },
  'the id as a string': { pull: (id) => [chunk(String(id), value([event(1)]))] },
  'a list of frames': { pull: (id) => [[chunk(id, value([event(1)])), chunk(id, value([event(2)]))]] },
  'two values': { pull: (id) => [chunk(id, value([event(1)]), value([event(2)]))] },
  'a binary frame': { pull: (id) => [Buffer.from(JSON.stringify(chunk(id, value([event(1)]))))] },
  'pull: Success': { pull: (id) => [chunk(id, value([event(1)])), exit(id, { _tag: 'Success', value: null })] },
  'pull: BackendIdMismatchError': {
    pull: (id) => [exit(id, failure({ _tag: 'Fail', error: { _tag: 'BackendIdMismatchError', expected: 'a', received: 'b' } }))],
  },
  'pull: UnknownError': { pull: (id) => [exit(id, failure({ _tag: 'Fail', error: unknown }))] },
  'pull: Interrupt': { pull: (id) => [exit(id, failure({ _tag: 'Interrupt', fiberId: null }))] },
  'push: Success': pushed((id) => [exit(id, success)]),
  'push: ServerAheadError': pushed((id) => [
    exit(id, failure({ _tag: 'Fail', error: { _tag: 'ServerAheadError', minimumExpectedNum: 1, providedNum: 0 } })),
  ]),
  'push: UnknownError': pushed((id) => [exit(id, failure({ _tag: 'Fail', error: unknown }))]),
  'push: Die': pushed((id) => [exit(id, failure({ _tag: 'Die', defect: 'why' }))]),
  'push: Defect': pushed(() => [{ _tag: 'Defect', defect: 'why' }]),
  'push: closed with 1000': pushed(() => [1000]),
  'push: closed with 1001': pushed(() => [1001]),
  'own event back, args null': back(null),
  'own event back, args {}': back({}),
  'own event back, without args': back(undefined),
}

for (const [title, { pull, push = () => [], commit }] of Object.entries(scenarios)) {
  if (!title.includes(name)) continue
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  const said = []
  server.on('connection', (socket) => {
    said.push('opens')
    socket.on('close', (code) => said.push(`closes ${code}`))
    socket.on('message', (data) => {
      const { _tag, id, tag, payload, requestId } = JSON.parse(String(data))
      if (_tag === 'Ping') return socket.send('{"_tag":"Pong"}')
      said.push(_tag === 'Request' ? `${tag} ${id}` : `${_tag} ${requestId}`)
      if (_tag !== 'Request') return
      for (const answer of tag === 'SyncWsRpc.Pull' ? pull(id) : push(id, payload)) {
        if (typeof answer === 'number') socket.close(answer)
        else socket.send(Buffer.isBuffer(answer) ? answer : JSON.stringify(answer))
      }
    })
  })
  await once(server, 'listening')
  const url = `http://127.0.0.1:${server.address().port}`
  const program = [join(build, 'client.mjs'), '--url', url, '--store', 'scripted', '--client', 'client-a']
  const child = spawn(process.execPath, program, { stdio: ['pipe', 'pipe', 'ignore'] })
  let out = ''
  child.stdout.on('data', (piece) => (out += piece))
  while (!out.includes('\n')) await sleep(50)
  await sleep(700)
  if (commit) child.stdin.write(`${JSON.stringify({ do: 'commit', events: [commit] })}\n`)
  await sleep(commit ? 4_000 : 900)
  child.stdin.write('{"do":"state"}\n')
  // A client that is busy may take its time.
  for (let tries = 0; tries < 50 && !out.includes('"state"'); tries++) await sleep(100)
  child.kill('SIGKILL')
  const more = said.length > 12 ? ` … (${said.length} in all)` : ''
  console.log(`${title}\n    ${said.slice(0, 12).join(', ')}${more}\n    ${out.trim().split('\n').at(-1)}`)
  server.close()
  for (const socket of server.clients) socket.terminate()
}
process.exit(0)
