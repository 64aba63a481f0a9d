// LiveStore's own sync server of its main branch, unmodified: the oracle. It is
// run with ../../do-rpc's configurations, alone or beside the clients there.
import { makeDurableObject, makeWorker } from '@livestore/sync-cf/cf-worker'

export class SyncBackendDO extends makeDurableObject() {}

export default makeWorker({
  syncBackendBinding: 'SYNC_BACKEND_DO',
  enableCORS: true,
  validatePayload: (payload) => {
    if (payload?.reject === true) throw new Error('rejected')
  },
})
