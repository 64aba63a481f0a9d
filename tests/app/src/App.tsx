import { Assistant } from './Assistant'
import { ConnectionState, Refused } from './ConnectionState'
import { useConnection } from './connection'
import { type Session, signOut } from './session'
import { Mark } from './SignIn'
import { useAppStore } from './store'
import { Todos } from './Todos'

export const App = ({ session }: { session: Session }) => {
  const store = useAppStore()
  const connection = useConnection(store, session)
  return (
    <>
      <header>
        <h1>
          <Mark /> {session.storeId}
        </h1>
        <ConnectionState connection={connection} />
        <button type="button" className="quiet" onClick={signOut}>
          Sign out
        </button>
      </header>
      {connection.state === 'refused' && <Refused {...connection} />}
      <div className="columns">
        <Todos store={store} session={session} />
        <Assistant store={store} session={session} />
      </div>
    </>
  )
}
