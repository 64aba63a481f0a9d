// Is the store connected, and if not: why?
import { Effect, Fiber, Schedule, Stream } from '@livestore/utils/effect'
import { useEffect, useState } from 'react'
import { type Admission, askAdmission } from './admission'
import type { Session } from './session'
import type { AppStore } from './store'

export type Connection =
  | { state: 'connecting' }
  | { state: 'connected' }
  | { state: 'offline' }
  | { state: 'refused'; code: string; why: string }

const connectionOf = (admission: Admission): Connection => {
  switch (admission.state) {
    // The server would have it: LiveStore is about to try again.
    case 'admitted':
      return { state: 'connecting' }
    case 'unreachable':
      return { state: 'offline' }
    case 'refused':
      return admission
  }
}

/**
 * Follows LiveStore's connection. `networkStatus` has news for every try that
 * fails, also of a socket that the server refuses; then the server is asked
 * why. LiveStore decides when it tries again (after 1 s, later 30 s), so that
 * is also how often the server is asked.
 */
export const useConnection = (store: AppStore, session: Session): Connection => {
  const [connection, setConnection] = useState<Connection>({ state: 'connecting' })
  useEffect(() => {
    // Counts the news: an answer to a question that is no longer the last one is old.
    let news = 0
    const onStatus = async (isConnected: boolean) => {
      const mine = ++news
      if (isConnected) return setConnection({ state: 'connected' })
      const admission = await askAdmission(session)
      if (mine === news) setConnection(connectionOf(admission))
    }
    const following = store.networkStatus.changes.pipe(
      Stream.runForEach(({ isConnected }) => Effect.sync(() => void onStatus(isConnected))),
      // It ends with the tab that had LiveStore's leader; another tab has it then.
      Effect.ignoreLogged,
      Effect.repeat(Schedule.spaced('1 second')),
      Effect.runFork,
    )
    return () => {
      news++
      Effect.runFork(Fiber.interrupt(following))
    }
  }, [store, session])
  return connection
}
