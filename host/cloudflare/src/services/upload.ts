// A file that is uploaded, as `multipart/form-data`: read within its limits,
// in bytes, parts and time. `Request.formData()` has none of them.

import {
  getMultipartBoundary,
  MaxFileSizeExceededError,
  MaxTotalSizeExceededError,
  MultipartParser,
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
  const boundary = getMultipartBoundary(request.headers.get('content-type') ?? '')
  if (!boundary) return { tag: 'malformed' }
  const bytesMax = upload.fileBytesMax + BESIDE_BYTES_MAX
  if (Number(request.headers.get('content-length') ?? 0) > bytesMax) {
    await discard(request)
    return { tag: 'too-large' }
  }
  const parser = new MultipartParser(boundary, {
    maxFileSize: upload.fileBytesMax,
    maxTotalSize: bytesMax,
    maxParts: upload.partsMax,
  })
  const uploaded: Uploaded = { parts: { texts: [] }, content: [] }
  const { texts } = uploaded.parts
  const decoder = new TextDecoder()
  for await (const block of blocks(pieces(request, held))) {
    if (isComplete(parser)) break
    for (const part of parser.write(block)) {
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

/** Pieces gathered into blocks. */
async function* blocks(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let block = new Uint8Array(BLOCK_BYTES)
  let bytes = 0
  for await (let piece of pieces) {
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
