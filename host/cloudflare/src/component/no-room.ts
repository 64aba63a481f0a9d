// What an instance without a room has no use for: the gateway's.

import type { Imports } from './instance.js'
import { unavailable } from '../storage/event-log.js'

const noLog = () => {
  throw unavailable('the event log is for rooms only')
}

/** Imports that lead nowhere. */
export const NO_ROOM: Pick<Imports, 'connections' | 'eventLog' | 'timer'> = {
  connections: {
    send() {},
    sendEach() {},
    close() {},
    attach() {
      throw { payload: { tag: 'gone' } }
    },
    attached: () => [],
    subscribe() {
      throw { payload: 'unsupported' }
    },
    notifyDrained() {},
  },
  eventLog: { open: noLog, append: noLog, read: noLog, reset: noLog },
  timer: { wakeAfter() {} },
}
