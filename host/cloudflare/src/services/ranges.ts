// A part of a file: the binding ASSETS sends all of it, whatever is asked for.

/** One range, as browsers ask for it. What is none, or several, is passed over
 * (RFC 9110, 14.2). */
const RANGE = /^bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))$/

/** The part that is asked for, of a whole answer; or that there is none; or
 * the answer. `again` fetches it again: the binding need not say how long it
 * is, and it may be too long to be kept. */
export async function partOf(
  { method, headers: asked }: Request,
  whole: Response,
  again: () => Promise<Response>,
): Promise<Response> {
  const { status, body, headers } = whole
  // Of what is packed, nobody wants a part.
  if (method !== 'GET' || status !== 200 || !body || headers.has('content-encoding')) return whole
  const [, first, last, suffix] = RANGE.exec(asked.get('range') ?? '') ?? []
  if ((first ?? suffix) === undefined || (last && Number(last) < Number(first))) return whole
  const condition = asked.get('if-range')
  // A weak tag names no bytes.
  const isSame = condition === headers.get('last-modified') || (condition === headers.get('etag') && !condition?.startsWith('W/'))
  if (condition !== null && !isSame) return whole
  const bytes = await lengthOf(body)
  const start = first === undefined ? Math.max(0, bytes - Number(suffix)) : Number(first)
  const end = last ? Math.min(Number(last) + 1, bytes) : bytes
  const part = new Headers(headers)
  if (start >= end) {
    part.delete('content-length')
    part.set('content-range', `bytes */${bytes}`)
    return new Response(null, { status: 416, headers: part })
  }
  const content = (await again()).body
  if (!content) throw new Error('a file has gone')
  part.set('content-length', String(end - start))
  part.set('content-range', `bytes ${start}-${end - 1}/${bytes}`)
  const cut = cutOut(content, start, end).pipeThrough(new FixedLengthStream(end - start))
  return new Response(cut, { status: 206, headers: part })
}

/** Reads to the end, and keeps nothing. */
async function lengthOf(body: ReadableStream<Uint8Array>): Promise<number> {
  let bytes = 0
  for await (const piece of body) bytes += piece.length
  return bytes
}

/** The bytes from `start` on and before `end`. */
function cutOut(body: ReadableStream<Uint8Array>, start: number, end: number): ReadableStream<Uint8Array> {
  const reader = body.getReader()
  let at = 0
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        for (let isWritten = false; !isWritten; ) {
          const { done, value } = await reader.read()
          if (done) return controller.close()
          const piece = value.subarray(Math.max(0, start - at), Math.max(0, end - at))
          at += value.length
          isWritten = piece.length > 0
          if (isWritten) controller.enqueue(piece)
          if (at < end) continue
          controller.close()
          return reader.cancel()
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
}
