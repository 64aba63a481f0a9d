// Who is signed in, to which store: kept for all tabs of this browser.

/** A session of a person and a store. */
export interface Session {
  /** Made anew with every sign-in: LiveStore's shared worker takes no new token, so each has its own. */
  id: string
  storeId: string
  /** The JWT, or nothing in development. */
  token?: string
}

const KEY = 'syncline-app:session'

/** What LiveStore takes as a store's id. */
export const STORE_ID_PATTERN = '[A-Za-z0-9_\\-]+'

export const readSession = (): Session | undefined => {
  try {
    const it: unknown = JSON.parse(localStorage.getItem(KEY) ?? 'null')
    if (typeof it !== 'object' || it === null) return undefined
    const { id, storeId, token } = it as Record<string, unknown>
    if (typeof id !== 'string' || typeof storeId !== 'string') return undefined
    return { id, storeId, ...(typeof token === 'string' && { token }) }
  } catch {
    return undefined
  }
}

// The page is loaded again, here and in the other tabs: a store that is open
// cannot be given another token.

export const signIn = (session: Omit<Session, 'id'>): void => {
  localStorage.setItem(KEY, JSON.stringify({ ...session, id: crypto.randomUUID() }))
  location.reload()
}

export const signOut = (): void => {
  localStorage.removeItem(KEY)
  location.reload()
}

export const followOtherTabs = (): void => {
  addEventListener('storage', ({ key }) => {
    if (key === KEY || key === null) location.reload()
  })
}

/** The first workspace that a token names: the store that it is most likely for. */
export const workspaceOf = (token: string): string | undefined => {
  try {
    const part = token.split('.')[1] ?? ''
    const claims = JSON.parse(atob(part.replaceAll('-', '+').replaceAll('_', '/')))
    const id: unknown = claims.workspaces[0].id
    return typeof id === 'string' ? id : undefined
  } catch {
    return undefined
  }
}
