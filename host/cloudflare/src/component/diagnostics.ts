// The `diagnostics` import: the guest's lines in the Worker's log.

import type * as Diagnostics from '../../generated/plain/interfaces/syncline-backend-diagnostics.js'

export const diagnostics: typeof Diagnostics = {
  log(level, text) {
    // One line, whatever it holds.
    const message = text.replace(/\p{Cc}/gu, ' ')
    switch (level) {
      case 'error':
        return console.error(message)
      case 'warn':
        return console.warn(message)
      case 'info':
        return console.log(message)
      case 'debug':
        return console.debug(message)
    }
  },
}

/** What the guest wrote to its standard output: a panic's message. */
export function logGuestOutput(text: string): void {
  console.error(`guest: ${text}`)
}
