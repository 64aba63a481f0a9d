// A file that is uploaded, as `multipart/form-data`: read within its limits,
// in bytes, parts and time. `Request.formData()` has none of them.

import {
  MaxFileSizeExceededError,
  MaxTotalSizeExceededError,
  MultipartParser,
  type MultipartHeaders,
  type MultipartPart,
} from '@remix-run/multipart-parser'

import type { Parts, UploadError } from '../../generated/plain/interfaces/syncline-backend-images.js'
import type { Upload } from '../../generated/plain/interfaces/syncline-backend-services.js'
import type { Held } from '../bodies.js'
import { Busy, discard, joined, pieces, TooSlow } from './body.js'

/** What a body may have beside its file, in bytes: boundaries, headers and
 * fields of text. */
const BESIDE_BYTES_MAX = 64 * 1024

/** Of a field of text, in bytes. */
const TEXT_BYTES_MAX = 1_024

/** Of a file's beginning, in bytes: what tells its type. */
const BEGINNING_BYTES = 64

/** Of a part's head, in bytes and in headers. */
const HEAD_BYTES_MAX = 8 * 1024
const HEADERS_MAX = 32

/** What names and values of headers are made of (RFC 9110, 5.1 and 5.5). */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/
const HEADER_VALUE = /^[^\x00-\x08\x0b-\x1f\x7f]*$/

/** A boundary, with its quotes or without (RFC 2046, 5.1.1). */
const BOUNDARY = /;\s*boundary=(?:"([\x20-\x7e]{0,69}[\x21-\x7e])"|([!#$%&'*+.^_`|~0-9a-z-]{1,70}))\s*(?:;|$)/i

/** What the parser is given at once, in bytes: it keeps each piece as it came,
 * and a client may send a body byte by byte. */
const BLOCK_BYTES = 64 * 1024

/** An upload that was read. */
export interface Uploaded {
  /** What the guest is shown. */
  parts: Parts
  /** The file's content, in order. */
  content: Uint8Array[]
}

/** Reads an upload, or says why it is none. */
export async function read(upload: Upload, request: Request, held: Held): Promise<Uploaded | UploadError> {
  try {
    return await parse(upload, request, held)
  } catch (error) {
    return { tag: reason(error) }
  }
}

function reason(error: unknown): UploadError['tag'] {
  if (error instanceof TooSlow) return 'too-slow'
  if (error instanceof Busy) return 'busy'
  const isLarge = error instanceof MaxFileSizeExceededError || error instanceof MaxTotalSizeExceededError
  // What the parser says, a name that cannot be decoded, a body that broke off.
  return isLarge ? 'too-large' : 'malformed'
}

async function parse(upload: Upload, request: Request, held: Held): Promise<Uploaded | UploadError> {
  const [, quoted, bare] = BOUNDARY.exec(request.headers.get('content-type') ?? '') ?? []
  const boundary = quoted ?? bare
  if (boundary === undefined) {
    await discard(request)
    return { tag: 'malformed' }
  }
  const bytesMax = upload.fileBytesMax + BESIDE_BYTES_MAX
  if (Number(request.headers.get('content-length') ?? 0) > bytesMax) {
    await discard(request)
    return { tag: 'too-large' }
  }
  const parser = new MultipartParser(boundary, {
    maxHeaderSize: HEAD_BYTES_MAX,
    maxFileSize: upload.fileBytesMax,
    maxTotalSize: bytesMax,
    maxParts: upload.partsMax,
  })
  const uploaded: Uploaded = { parts: { texts: [] }, content: [] }
  const { texts } = uploaded.parts
  const decoder = new TextDecoder()
  for await (const block of fromBoundary(blocks(pieces(request, held), bytesMax), boundary)) {
    if (isComplete(parser)) break
    for (const part of parser.write(block)) {
      if (!isHead(part.headers)) return { tag: 'malformed' }
      const { name } = part
      if (name === upload.field && !uploaded.parts.file) {
        uploaded.content = part.content
        uploaded.parts.file = await fileOf(part)
      } else if (name !== undefined && upload.textFields.includes(name) && !texts.some(([it]) => it === name)) {
        texts.push([name, decoder.decode(beginning(part.content, TEXT_BYTES_MAX))])
      }
    }
  }
  parser.finish()
  return uploaded
}

/** Whether the last boundary was there: what follows is nobody's. */
function isComplete(parser: MultipartParser): boolean {
  try {
    parser.finish()
    return true
  } catch {
    return false
  }
}

/** Whether these can be headers: the parser passes over what is none. */
function isHead(headers: MultipartHeaders): boolean {
  const all = Object.entries(headers)
  return all.length <= HEADERS_MAX && all.every(([name, value]) => HEADER_NAME.test(name) && HEADER_VALUE.test(value ?? ''))
}

async function fileOf({ content, filename }: MultipartPart): Promise<NonNullable<Parts['file']>> {
  const hash = new crypto.DigestStream('SHA-256')
  const writer = hash.getWriter()
  let bytes = 0
  for (const piece of content) {
    bytes += piece.length
    await writer.write(piece)
  }
  await writer.close()
  return {
    bytes: BigInt(bytes),
    beginning: beginning(content, BEGINNING_BYTES),
    sha256: hexadecimal(new Uint8Array(await hash.digest)),
    ...(filename === undefined ? {} : { name: filename }),
  }
}

/** Blocks from the first boundary on: what comes before is nobody's (RFC 2046,
 * 5.1.1), and the parser takes it for an error. */
async function* fromBoundary(
  blocks: AsyncIterable<Uint8Array>,
  boundary: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const begins = `--${boundary}`
  // A character a byte.
  const decoder = new TextDecoder('latin1')
  let before: Uint8Array | undefined = new Uint8Array()
  for await (const block of blocks) {
    if (!before) {
      yield block
      continue
    }
    const all = joined([before, block])
    const at = decoder.decode(all).indexOf(begins)
    before = at < 0 ? all.slice(Math.max(0, all.length - begins.length + 1)) : undefined
    if (at >= 0) yield all.subarray(at)
  }
}

/** Pieces gathered into blocks. Throws where they are too many bytes. */
async function* blocks(
  pieces: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let block = new Uint8Array(BLOCK_BYTES)
  let bytes = 0
  let left = bytesMax
  for await (let piece of pieces) {
    left -= piece.length
    if (left < 0) throw new MaxTotalSizeExceededError(bytesMax)
    while (piece.length > 0) {
      const taken = piece.subarray(0, BLOCK_BYTES - bytes)
      block.set(taken, bytes)
      bytes += taken.length
      piece = piece.subarray(taken.length)
      if (bytes < BLOCK_BYTES) continue
      yield block
      block = new Uint8Array(BLOCK_BYTES)
      bytes = 0
    }
  }
  if (bytes > 0) yield block.slice(0, bytes)
}

function beginning(content: Uint8Array[], bytesMax: number): Uint8Array {
  const first: Uint8Array[] = []
  let left = bytesMax
  for (const piece of content) {
    if (left === 0) break
    const kept = piece.subarray(0, left)
    first.push(kept)
    left -= kept.length
  }
  return joined(first)
}

function hexadecimal(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
