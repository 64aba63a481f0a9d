import type { Connection } from './connection'
import { signOut } from './session'

const words = {
  connecting: ['Connecting…', 'Looking for the server'],
  connected: ['Synced live', 'Connected: what you do is synced at once'],
  offline: ['Offline', 'No server: what you do is kept here and synced later'],
  refused: ['Refused', 'The server does not admit you: what you do is kept here'],
} as const

/** The pill in the header. */
export const ConnectionState = ({ connection: { state } }: { connection: Connection }) => {
  const [short, long] = words[state]
  return (
    <p role="status" className={`pill ${state}`} data-connection={state} title={long}>
      {short}
    </p>
  )
}

/** Why the server refuses, and the way out. */
export const Refused = ({ code, why }: { code: string; why: string }) => (
  <div className="notice refused" role="alert" data-code={code}>
    <p>
      <strong>The server refuses this session.</strong> {why} What you do here is kept in this browser.{' '}
      <code>{code}</code>
    </p>
    <button type="button" onClick={signOut}>
      Sign in again
    </button>
  </div>
)
