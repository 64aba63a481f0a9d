// The assistant's wire: `POST /api/llm/chat`, answered by server-sent events.
import type { Session } from './session'

/** A turn of the conversation, as the server takes it. */
export interface Turn {
  role: 'user' | 'assistant'
  content: string
}

/** A tool that the model wants called. */
export interface ToolCall {
  id: string
  name: string
  arguments: Record<string, unknown>
}

/** What a stream brings: text as it comes, then once what else the model wants. */
export type AssistantEvent =
  | { type: 'delta'; text: string }
  /** `isWhole` is false where the model had no room left to say it all. */
  | { type: 'done'; toolCalls: ToolCall[]; isWhole: boolean }

/** One event of the stream. Throws what `event: error` says. */
const decode = (name: string, data: string): AssistantEvent | undefined => {
  const body = JSON.parse(data) as {
    delta?: string
    toolCalls?: ToolCall[]
    finishReason?: string
    error?: string
  }
  if (name === 'error') throw new Error(body.error ?? 'The assistant failed.')
  if (name === 'done') return { type: 'done', toolCalls: body.toolCalls ?? [], isWhole: body.finishReason !== 'length' }
  if (typeof body.delta === 'string') return { type: 'delta', text: body.delta }
  return undefined
}

/** Splits a body into its server-sent events. */
async function* eventsOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<{ name: string; data: string }> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      const blocks = (rest + value).split(/\r?\n\r?\n/)
      rest = blocks.pop() ?? ''
      for (const block of blocks) {
        let name = 'message'
        const data: string[] = []
        for (const line of block.split(/\r?\n/)) {
          if (line.startsWith('event:')) name = line.slice(6).trim()
          if (line.startsWith('data:')) data.push(line.slice(5).trim())
        }
        if (data.length > 0) yield { name, data: data.join('\n') }
      }
    }
  } finally {
    // Whoever stops reading hangs up, and the server stops asking the model.
    await reader.cancel().catch(() => {})
  }
}

/** Asks the assistant. Throws an `Error` whose message is for people; an aborted one is an `AbortError`. */
export async function* askAssistant(
  message: string,
  conversationHistory: Turn[],
  { token }: Session,
  signal: AbortSignal,
): AsyncGenerator<AssistantEvent> {
  const answer = await fetch('/api/llm/chat', {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ message, conversationHistory, stream: true }),
    signal,
  })
  if (!answer.ok || answer.body === null) {
    const body: unknown = await answer.json().catch(() => undefined)
    const { error } = (body ?? {}) as { error?: unknown }
    throw new Error(typeof error === 'string' ? error : `The assistant does not answer (${answer.status}).`)
  }
  for await (const { name, data } of eventsOf(answer.body)) {
    const event = decode(name, data)
    if (event !== undefined) yield event
    if (event?.type === 'done') return
  }
  throw new Error('The answer broke off.')
}
