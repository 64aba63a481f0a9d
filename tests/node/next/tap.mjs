// Between clients and a server: hands everything on as it is, and writes it
// down in the form of ../../fixtures/wire.
import { createServer } from 'node:http'
import { WebSocket, WebSocketServer } from 'ws'

/** A frame as a line has it: parsed, if parsing and writing it again gives the same text. */
const written = (data, isBinary) => {
  if (isBinary) return { hex: Buffer.from(data).toString('hex') }
  const text = String(data)
  try {
    const json = JSON.parse(text)
    if (JSON.stringify(json) === text) return { json }
  } catch {}
  return { text }
}

/**
 * A tap before `target` (`http://…`). Lines go to `put`, in the order in which
 * they passed. `route` may lead a connection's URL elsewhere.
 */
export const openTap = async (target, put, { route = (url) => url } = {}) => {
  let connections = 0
  const open = new Set()
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const piece of request) body += piece
    const { host, connection, 'content-length': _, 'transfer-encoding': __, ...headers } = request.headers
    const sends = request.method !== 'GET' && request.method !== 'HEAD'
    const got = await fetch(target + request.url, { method: request.method, headers, ...(sends ? { body } : {}) })
    const text = await got.text()
    const sent = written(body, false)
    const answer = written(text, false)
    put({
      request: request.method,
      url: request.url,
      ...(sent.json === undefined ? { text: body } : { json: sent.json }),
      status: got.status,
      ...(answer.json === undefined ? { body: text } : { response: answer.json }),
    })
    const type = got.headers.get('content-type')
    response.writeHead(got.status, type === null ? {} : { 'content-type': type }).end(text)
  })
  new WebSocketServer({ server }).on('connection', (client, request) => {
    const name = `ws-${++connections}`
    const url = route(request.url)
    put({ open: name, url })
    const backend = new WebSocket(target.replace('http', 'ws') + url)
    const opened = new Promise((resolve) => backend.once('open', resolve))
    open.add(client)
    // A queue: what is sent first arrives first.
    let last = opened
    client.on('message', (data, isBinary) => {
      last = last.then(() => {
        put({ send: name, ...written(data, isBinary) })
        backend.send(isBinary ? data : String(data))
      })
    })
    backend.on('message', (data, isBinary) => {
      put({ receive: name, ...written(data, isBinary) })
      client.send(isBinary ? data : String(data))
    })
    client.on('close', (code) => {
      open.delete(client)
      put({ close: name, code })
      last.then(() => backend.close())
    })
    client.on('error', () => backend.terminate())
    backend.on('close', () => client.close()).on('error', () => client.terminate())
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** The connections break, as a network does. */
    cut: () => {
      for (const client of open) client.terminate()
    },
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}
