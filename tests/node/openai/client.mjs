// The openai client against a server's `/v1`, with the JWT as its key.
//
//     node client.mjs TASK BASE_URL KEY PROMPT
//
// stdout: one line of JSON, what came of it.

import OpenAI from 'openai'

const [task, baseURL, apiKey, prompt] = process.argv.slice(2)
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 90_000 })
const messages = [{ role: 'user', content: prompt }]
const model = 'test-model'
const tools = [
  {
    type: 'function',
    function: { name: 'of_the_client', parameters: { type: 'object', properties: { title: { type: 'string' } } } },
  },
]

/** What a client's user sees of an error. */
function thrown(error) {
  const kind = Object.entries(OpenAI).find(([, it]) => typeof it === 'function' && error.constructor === it)?.[0]
  return {
    thrown: kind ?? error.constructor.name,
    isApiError: error instanceof OpenAI.APIError,
    status: error.status ?? null,
    code: error.code ?? null,
    message: error.message,
    retryAfter: error.headers?.get?.('retry-after') ?? null,
  }
}

const tasks = {
  complete: async () => {
    const answer = await client.chat.completions.create({ model, messages })
    return { text: answer.choices[0].message.content, usage: answer.usage.total_tokens }
  },
  stream: async () => {
    const stream = await client.chat.completions.create({
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    })
    const texts = []
    let usage = null
    try {
      for await (const chunk of stream) {
        const text = chunk.choices[0]?.delta.content
        if (text) texts.push(text)
        usage = chunk.usage?.total_tokens ?? usage
      }
    } catch (error) {
      return { texts, ...thrown(error) }
    }
    return { texts, usage }
  },
  tools: async () => {
    const stream = client.chat.completions.stream({ model, messages, tools })
    const { message, finish_reason: reason } = (await stream.finalChatCompletion()).choices[0]
    const answer = await client.chat.completions.create({
      model,
      tools,
      messages: [
        ...messages,
        message,
        { role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'created' },
      ],
    })
    const [{ id, function: call }] = message.tool_calls
    return { id, name: call.name, arguments: call.arguments, reason, text: answer.choices[0].message.content }
  },
  abort: async () => {
    const controller = new AbortController()
    const options = { signal: controller.signal }
    const stream = await client.chat.completions.create({ model, messages, stream: true }, options)
    const texts = []
    for await (const chunk of stream) {
      const text = chunk.choices[0]?.delta.content
      if (!text) continue
      texts.push(text)
      controller.abort()
    }
    return { texts }
  },
  models: async () => {
    const ids = []
    for await (const model of client.models.list()) ids.push(model.id)
    return { ids }
  },
}

let result
try {
  result = await tasks[task]()
} catch (error) {
  result = thrown(error)
}
console.log(JSON.stringify(result))
