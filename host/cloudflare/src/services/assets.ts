// The app's files, in the ASSETS binding. Which of them answers a request, and
// how long it may be kept, is the guest's (`services.asset`); whether it has
// changed, and its type, are the binding's.

import type { Asset } from '../../generated/plain/interfaces/syncline-backend-services.js'
import { type Exchange, failed, type HeaderList } from './exchange.js'
import { partOf } from './ranges.js'

/** What a request's path stands for that names none. */
const INDEX = 'index.html'

/** The binding looks at paths alone. */
const ASSETS_URL = 'https://assets.invalid/'

/** What of a request a file's answer depends on. */
const CONDITIONS = ['accept-encoding', 'if-none-match', 'if-modified-since', 'if-range', 'range']

/** Answers with a file. */
export async function asset({ request }: Exchange, assets: Fetcher, asset: Asset): Promise<Response> {
  const conditions: HeaderList = CONDITIONS.flatMap((name): HeaderList => {
    const value = request.headers.get(name)
    return value === null ? [] : [[name, value]]
  })
  const { method } = request
  const fetched = async (path: string) => {
    const url = ASSETS_URL + path.split('/').map(encodeURIComponent).join('/')
    const fetch = () => assets.fetch(url, { method, headers: conditions })
    const found = await fetch()
    if (found.status < 400) return partOf(request, found, fetch)
    await found.body?.cancel()
    if (found.status < 500) return undefined
    throw new Error(`the binding ASSETS answers with ${found.status}`)
  }
  try {
    const found = await fetched(asset.path || INDEX)
    if (found) return kept(found, asset.headers)
    const fallback = asset.fallback === undefined ? undefined : await fetched(asset.fallback)
    if (fallback) return kept(fallback, asset.fallbackHeaders)
    const { status, headers, body } = asset.missing
    return new Response(body, { status, headers })
  } catch (error) {
    return failed("a file of the app", error, [])
  }
}

/** The file with the guest's headers, which go before the binding's own. */
function kept(found: Response, headers: HeaderList): Response {
  const response = new Response(found.body, found)
  for (const [name, value] of headers) {
    if (name === 'vary') response.headers.append(name, value)
    else response.headers.set(name, value)
  }
  return response
}
