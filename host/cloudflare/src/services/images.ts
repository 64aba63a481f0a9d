// Images in R2, as the guest decides on them (`wit/images.wit`).

import type { Delivered, Info, NoObject, UploadError } from '../../generated/plain/interfaces/syncline-backend-images.js'
import type { Object as Wanted, Upload } from '../../generated/plain/interfaces/syncline-backend-services.js'
import { Bodies } from '../bodies.js'
import { write } from '../telemetry/lines.js'
import { discard } from './body.js'
import { answer, type Exchange, failed } from './exchange.js'
import { Places } from './places.js'
import { read, type Uploaded } from './upload.js'

/** Uploads at once, in this isolate: R2 has to know how long a file is, so
 * each is held whole, and all that the isolate has is 128 MB. */
const UPLOADS_MAX = 8

/** What they may take together, in bytes. Apart from sync's bodies, so that
 * none of those waits for an image. */
const BYTES_MAX = 48 * 1024 * 1024

/** How long an upload may take, in milliseconds: to arrive, and to be stored. */
const UPLOAD_MS_MAX = 90_000

const uploads = new Places(UPLOADS_MAX, UPLOAD_MS_MAX)
const files = new Bodies(BYTES_MAX)

/** Reads a file and stores it. */
export async function upload(exchange: Exchange, bucket: R2Bucket, upload: Upload): Promise<Response> {
  const place = uploads.take()
  if (!place) await discard(exchange.request)
  // No two are one owner's: nobody knows here whose they are.
  const held = files.begin(crypto.randomUUID())
  try {
    const uploaded: Uploaded | UploadError = place ? await read(upload, exchange.request, held) : { tag: 'busy' }
    return await store(exchange, bucket, upload.context, uploaded)
  } catch (error) {
    return failed('an upload', error, upload.headers)
  } finally {
    held.end()
    place?.end()
  }
}

async function store(
  exchange: Exchange,
  bucket: R2Bucket,
  context: string,
  uploaded: Uploaded | UploadError,
): Promise<Response> {
  const isRead = 'parts' in uploaded
  const accepted = await exchange.gateway.call(({ images }) =>
    images.accept(context, isRead ? { tag: 'ok', val: uploaded.parts } : { tag: 'err', val: uploaded }),
  )
  if (accepted.tag === 'respond') return answer(exchange, accepted.val)
  const { key, contentType, metadata, stored, failed } = accepted.val
  try {
    // Whole or not at all, whenever its client or this isolate goes.
    await bucket.put(key, streamOf(isRead ? uploaded.content : []), {
      httpMetadata: { contentType },
      customMetadata: Object.fromEntries(metadata),
    })
    return answer(exchange, stored)
  } catch (error) {
    write('error', 'image_failed', `an image cannot be stored: ${String(error)}`)
    return answer(exchange, failed)
  }
}

/** A content whose length R2 knows before it comes. */
function streamOf(content: Uint8Array[]): ReadableStream<Uint8Array> {
  const { readable, writable } = new FixedLengthStream(content.reduce((bytes, piece) => bytes + piece.length, 0))
  const write = async () => {
    const writer = writable.getWriter()
    for (const piece of content) await writer.write(piece)
    await writer.close()
  }
  // R2's failure is told by `put`.
  write().catch(() => undefined)
  return readable
}

/** Answers with an object. */
export async function deliver(exchange: Exchange, bucket: R2Bucket, wanted: Wanted): Promise<Response> {
  const { request, gateway } = exchange
  const { key, context, headers } = wanted
  const decide = (object: Info | NoObject): Promise<Delivered> =>
    gateway.call(({ images }) =>
      images.deliver(context, typeof object === 'string' ? { tag: 'err', val: object } : { tag: 'ok', val: object }),
    )
  // Whether its content will surely be wanted, all of it.
  const isWhole = request.method === 'GET' && !['range', 'if-none-match'].some((name) => request.headers.has(name))
  try {
    const object = await found(() => (isWhole ? bucket.get(key) : bucket.head(key)))
    const delivered = await decide(typeof object === 'string' ? object : infoOf(object))
    if (delivered.tag === 'respond') {
      if (typeof object !== 'string') release(object)
      return answer(exchange, delivered.val)
    }
    const { head, part } = delivered.val
    if (typeof object === 'string' || !part || part.length === 0n) {
      if (typeof object !== 'string') release(object)
      return new Response(null, head)
    }
    const content = isContent(object) && part.length === BigInt(object.size) ? object : await contentOf(bucket, key, part)
    if (typeof content !== 'string') return new Response(content.body.pipeThrough(new FixedLengthStream(part.length)), head)
    // It was deleted meanwhile, or the store fails.
    const answered = await decide(content)
    if (answered.tag === 'respond') return answer(exchange, answered.val)
    return failed('an image', 'it wants to show one that is not there', headers)
  } catch (error) {
    return failed('an image', error, headers)
  }
}

/** Deletes an object. */
export async function remove(exchange: Exchange, bucket: R2Bucket, wanted: Wanted): Promise<Response> {
  const { key, context, headers } = wanted
  try {
    const object = await found(() => bucket.head(key))
    const info = typeof object === 'string' ? object : infoOf(object)
    const removed = await exchange.gateway.call(({ images }) =>
      images.remove(context, typeof info === 'string' ? { tag: 'err', val: info } : { tag: 'ok', val: info }),
    )
    if (removed.tag === 'respond') return answer(exchange, removed.val)
    try {
      await bucket.delete(key)
      return answer(exchange, removed.val.removed)
    } catch (error) {
      write('error', 'image_failed', `an image cannot be deleted: ${String(error)}`)
      return answer(exchange, removed.val.failed)
    }
  } catch (error) {
    return failed('a deletion', error, headers)
  }
}

/** An object, or why there is none. */
async function found<T>(look: () => Promise<T | null>): Promise<T | NoObject> {
  try {
    return (await look()) ?? 'missing'
  } catch (error) {
    write('error', 'image_failed', `an image cannot be read: ${String(error)}`)
    return 'unavailable'
  }
}

async function contentOf(bucket: R2Bucket, key: string, part: { start: bigint; length: bigint }) {
  const range = { offset: Number(part.start), length: Number(part.length) }
  return found(() => bucket.get(key, { range }))
}

function isContent(object: R2Object): object is R2ObjectBody {
  return 'body' in object
}

/** Does not read what nobody wants. */
function release(object: R2Object): void {
  if (isContent(object)) object.body.cancel().catch(() => undefined)
}

function infoOf({ size, httpMetadata, customMetadata }: R2Object): Info {
  return {
    bytes: BigInt(size),
    contentType: httpMetadata?.contentType ?? '',
    metadata: Object.entries(customMetadata ?? {}),
  }
}
