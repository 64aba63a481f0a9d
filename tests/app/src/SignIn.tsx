import { type FormEvent, useState } from 'react'
import { askAdmission } from './admission'
import { STORE_ID_PATTERN, signIn, workspaceOf } from './session'

/** `?store=…`; not `storeId`, by which Syncline knows what syncs. */
const fromUrl = new URLSearchParams(location.search).get('store') || undefined

export const SignIn = () => {
  const [token, setToken] = useState('')
  const [typed, setTyped] = useState<string>()
  const [asking, setAsking] = useState(false)
  const [refusal, setRefusal] = useState<{ code: string; why: string }>()

  const storeId = typed ?? fromUrl ?? workspaceOf(token) ?? 'my-store'

  const onSubmit = async (event: FormEvent) => {
    event.preventDefault()
    const session = { storeId: storeId.trim(), ...(token.trim() !== '' && { token: token.trim() }) }
    setAsking(true)
    setRefusal(undefined)
    const admission = await askAdmission(session)
    setAsking(false)
    // Without a server one can begin all the same: the todos are kept here, and sync later.
    if (admission.state === 'refused') setRefusal(admission)
    else signIn(session)
  }

  return (
    <main className="card sign-in">
      <h1>
        <Mark /> Todos
      </h1>
      <p className="muted">Kept in this browser, synced by Syncline. Open it twice and see.</p>
      <form onSubmit={onSubmit}>
        <label htmlFor="store">Store</label>
        <input
          id="store"
          value={storeId}
          onChange={(event) => setTyped(event.target.value)}
          pattern={STORE_ID_PATTERN}
          title="Letters, digits, - and _"
          maxLength={512}
          required
          autoCapitalize="off"
          spellCheck={false}
        />
        <label htmlFor="token">
          Token <span className="muted">– not needed in development</span>
        </label>
        <textarea
          id="token"
          value={token}
          onChange={(event) => setToken(event.target.value)}
          placeholder="eyJhbGciOi…"
          rows={4}
          autoCapitalize="off"
          autoComplete="off"
          spellCheck={false}
          aria-describedby="token-from"
        />
        <p id="token-from" className="muted small">
          From your sign-in service, or <code>syncline token --user ada --workspace my-store:owner</code>
        </p>
        {refusal && (
          <p className="notice refused" role="alert" data-code={refusal.code}>
            <strong>Refused.</strong> {refusal.why} <code>{refusal.code}</code>
          </p>
        )}
        <button type="submit" className="primary" disabled={asking}>
          {asking ? 'Asking the server…' : 'Open'}
        </button>
      </form>
    </main>
  )
}

export const Mark = () => (
  <svg className="mark" viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="9" />
    <path d="M9 16.5l5 5 9.5-11" />
  </svg>
)
