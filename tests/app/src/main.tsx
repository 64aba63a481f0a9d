import { StoreRegistryProvider } from '@livestore/react'
import { StrictMode, Suspense } from 'react'
import { createRoot } from 'react-dom/client'
import { App } from './App'
import { Ended, Failed } from './Failed'
import { followOtherTabs, readSession } from './session'
import { SignIn } from './SignIn'
import { endOf, optionsOf, registry, StoreProvider } from './store'
import './styles.css'

followOtherTabs()
const session = readSession()
const root = createRoot(document.getElementById('root')!)

if (session === undefined) {
  root.render(
    <StrictMode>
      <SignIn />
    </StrictMode>,
  )
} else {
  const options = optionsOf(session)
  root.render(
    <StrictMode>
      <Failed>
        <StoreRegistryProvider storeRegistry={registry}>
          <StoreProvider value={options}>
            <Suspense fallback={<p className="opening">Opening your todos…</p>}>
              <App session={session} />
            </Suspense>
          </StoreProvider>
        </StoreRegistryProvider>
      </Failed>
    </StrictMode>,
  )
  void endOf(options).then((why) => root.render(<Ended why={why} />))
}
