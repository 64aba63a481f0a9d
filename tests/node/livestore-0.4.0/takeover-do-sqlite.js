// The original server of 0.4.0, unmodified, as the worker that Syncline takes
// over from and hands back to: its logs are in Durable Object SQLite.
import { makeDurableObject, makeWorker } from '@livestore/sync-cf/cf-worker'

export class WebSocketServer extends makeDurableObject() {}

export default makeWorker({ syncBackendBinding: 'WEBSOCKET_SERVER' })
