// LiveStore's leader: one for all tabs of this browser. It keeps the data and
// syncs it, with the server that it was loaded from.
import { makeWorker } from '@livestore/adapter-web/worker'
import { makeWsSync } from '@livestore/sync-cf/client'
import { schema } from './schema'
import { watchSockets } from './watched-socket'

watchSockets()

const url = new URL('/', self.location.origin)
url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'

makeWorker({ schema, sync: { backend: makeWsSync({ url: url.href }) } })
