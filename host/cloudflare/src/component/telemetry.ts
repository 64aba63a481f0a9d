// The `telemetry` import, for instances that have no room (a room's is
// room/told.ts).

import type * as Telemetry from '../../generated/plain/interfaces/syncline-backend-telemetry.js'
import { points } from '../telemetry/telemetry.js'

/** Nobody is told. */
export const noTelemetry: typeof Telemetry = { called() {}, subscribed() {}, ahead() {}, tokensUsed() {} }

/** The gateway's: relays use tokens. */
export const relayed: typeof Telemetry = {
  ...noTelemetry,
  tokensUsed(tokens) {
    points()?.add('syncline.llm.tokens', Number(tokens))
  },
}
