// The `diagnostics` import: the guest's lines in the Worker's log.

import type * as Diagnostics from '../../generated/plain/interfaces/syncline-backend-diagnostics.js'
import { write } from '../telemetry/lines.js'

export const diagnostics: typeof Diagnostics = {
  log(level, text) {
    write(level, 'guest_line', text)
  },
}

/** What the guest wrote to its standard output: a panic's message. */
export function logGuestOutput(text: string): void {
  write('error', 'guest_line', `guest: ${text}`)
}
