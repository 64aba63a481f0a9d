import { StoreRegistryProvider } from '@livestore/react'
import { StrictMode, Suspense } from 'react'
import { createRoot } from 'react-dom/client'
import { App } from './App'
import { Failed } from './Failed'
import { followOtherTabs, readSession } from './session'
import { SignIn } from './SignIn'
import { optionsOf, registry, StoreProvider } from './store'
import './styles.css'

followOtherTabs()
const session = readSession()

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    {session === undefined ? (
      <SignIn />
    ) : (
      <Failed>
        <StoreRegistryProvider storeRegistry={registry}>
          <StoreProvider value={optionsOf(session)}>
            <Suspense fallback={<p className="opening">Opening your todos…</p>}>
              <App session={session} />
            </Suspense>
          </StoreProvider>
        </StoreRegistryProvider>
      </Failed>
    )}
  </StrictMode>,
)
