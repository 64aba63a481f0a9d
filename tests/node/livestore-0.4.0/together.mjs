// Several LiveStore 0.4.0 clients of one store, in one process, that edit at
// the same time: `node together.mjs --url URL --store ID --scenario NAME`.
// Ends with a line `{"converged":true}`, or `{"converged":false,"why":…}`.
import { parseArgs } from 'node:util'
import { WebSocket } from 'ws'
import { prepareNode, say, todoSchema } from '../driver.mjs'

const { values } = parseArgs({
  options: { url: { type: 'string' }, store: { type: 'string' }, scenario: { type: 'string' } },
})
await prepareNode(WebSocket)

const { makeAdapter } = await import('@livestore/adapter-node')
const livestore = await import('@livestore/livestore')
const { makeWsSync } = await import('@livestore/sync-cf/client')

/** How long they may take to converge once all is committed. */
const CONVERGE_MS_MAX = 20_000

const { events, todos, schema } = todoSchema(livestore, { unique: true })
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const open = (clientId) =>
  livestore.createStorePromise({
    adapter: makeAdapter({
      storage: { type: 'in-memory' },
      clientId,
      sync: {
        backend: makeWsSync({ url: values.url }),
        initialSyncOptions: { _tag: 'Blocking', timeout: CONVERGE_MS_MAX },
        onSyncError: 'ignore',
      },
    }),
    schema,
    storeId: values.store,
    disableDevtools: true,
  })

const todo = (id) => events.TodoCreated({ id, title: id })

/** Each opens so many clients, and has them commit; returns how many todos there are then. */
const scenarios = {
  /** Bursts of both at once. */
  burst: {
    clients: 2,
    async edit([a, b]) {
      for (let n = 0; n < 60; n++) {
        a.commit(todo(`a-${n}`))
        b.commit(todo(`b-${n}`))
        if (n % 10 === 9) await sleep(10)
      }
      return 120
    },
  },
  /** One drags something over the screen, another now and then. */
  drag: {
    clients: 2,
    async edit([a, b]) {
      for (let n = 0; n < 150; n++) {
        a.commit(todo(`a-${n}`))
        if (n % 3 === 0) b.commit(todo(`b-${n}`))
        await sleep(16)
      }
      return 200
    },
  },
  /** Two that type. */
  type: {
    clients: 2,
    async edit([a, b]) {
      for (let n = 0; n < 40; n++) {
        a.commit(todo(`a-${n}`))
        await sleep(60)
        b.commit(todo(`b-${n}`))
        await sleep(37)
      }
      return 80
    },
  },
  /** Bursts of five at once. */
  five: {
    clients: 5,
    async edit(stores) {
      for (let n = 0; n < 30; n++) {
        for (const [index, store] of stores.entries()) store.commit(todo(`${index}-${n}`))
        if (n % 10 === 9) await sleep(10)
      }
      return 150
    },
  },
  /** One imports while the other types. */
  import: {
    clients: 2,
    async edit([importer, typist]) {
      for (let n = 0; n < 30; n++) {
        if (n === 5) importer.commit(...Array.from({ length: 1_000 }, (_, n) => todo(`imported-${n}`)))
        typist.commit(todo(`typed-${n}`))
        await sleep(90)
      }
      return 1_030
    },
  },
}

const scenario = scenarios[values.scenario]
if (!scenario) throw new Error(`no scenario is named ${values.scenario}`)
const stores = []
for (let n = 0; n < scenario.clients; n++) stores.push(await open(`client-${n}`))
const count = await scenario.edit(stores)

const ids = (store) => store.query(todos).map(({ id }) => id).sort()
const counts = () => stores.map((store) => ids(store).length)
const began = Date.now()
let why
while (counts().some((it) => it !== count)) {
  if (Date.now() - began > CONVERGE_MS_MAX) {
    why = `they have ${counts()} todos of ${count}`
    break
  }
  await sleep(20)
}
if (new Set(stores.map((store) => ids(store).join())).size !== 1) why ??= 'they differ'
await say({ converged: why === undefined, ...(why && { why }) })
process.exit(0)
