// Cover images: the server stores them and says under which address.
import type { Session } from './session'

/** What the server takes; it looks at the content, this is for the file dialog. */
export const IMAGE_TYPES = 'image/jpeg,image/png,image/webp,image/gif,image/avif'

/** Uploads a file and returns its address. Throws an `Error` whose message is for people. */
export const uploadImage = async (file: File, { token, storeId }: Session): Promise<string> => {
  const form = new FormData()
  form.set('instanceId', storeId)
  form.set('file', file)
  let answer: Response
  try {
    answer = await fetch('/api/upload-image', {
      method: 'POST',
      body: form,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    })
  } catch {
    throw new Error('The image was not uploaded: the server cannot be reached.')
  }
  const body: unknown = await answer.json().catch(() => undefined)
  const { url, error } = (body ?? {}) as { url?: unknown; error?: unknown }
  if (answer.ok && typeof url === 'string') return url
  throw new Error(typeof error === 'string' ? error : `The image was not uploaded (${answer.status}).`)
}
