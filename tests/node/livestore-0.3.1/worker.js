// The original server of 0.3.1, unmodified: the oracle.
import { makeDurableObject, makeWorker } from '@livestore/sync-cf/cf-worker'

export class WebSocketServer extends makeDurableObject() {}

export default makeWorker()
