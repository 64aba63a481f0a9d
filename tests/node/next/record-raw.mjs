// The raw scenarios of record.mjs: what no client says, or not in this order.

const event = (seqNum, more = {}) => ({
  name: 'v1.TodoCreated',
  args: { id: `t${seqNum}`, title: `todo ${seqNum}` },
  seqNum,
  parentSeqNum: seqNum - 1,
  clientId: 'client-a',
  sessionId: 'static',
  ...more,
})
const events = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => event(from + index))
const none = { _tag: 'None' }
const some = (value) => ({ _tag: 'Some', value })

/** How long a missing answer is waited for, and how long nothing more may come after the last. */
const ANSWER_MS_MAX = 2_500
const QUIET_MS = 150

/** A connection that says what it is told to, and acknowledges Chunks unless told not to. */
const connect = async ({ url, store, WebSocket, sleep }, { params = '', acks = true } = {}) => {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/?storeId=${store}&transport=ws${params}`)
  const frames = []
  socket.on('message', (data) => {
    const frame = JSON.parse(String(data))
    frames.push(frame)
    if (acks && frame._tag === 'Chunk') socket.send(JSON.stringify({ _tag: 'Ack', requestId: frame.requestId }))
  })
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  /** Sends, and waits for what comes of it: until `done`, or for any frame, and then until nothing more comes. */
  const send = async (value, done = () => true, msMax = ANSWER_MS_MAX) => {
    const from = frames.length
    socket.send(typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value))
    const began = Date.now()
    while (Date.now() - began < msMax && !frames.slice(from).some(done)) await sleep(10)
    for (let seen = -1; seen !== frames.length; ) {
      seen = frames.length
      await sleep(QUIET_MS)
    }
  }
  const request = (id, tag, payload, more = {}) => {
    const ends = ({ _tag, requestId }) => requestId === id && (_tag === 'Exit' || (_tag === 'Chunk' && (payload.live || !acks)))
    return send({ _tag: 'Request', id, tag: `SyncWsRpc.${tag}`, payload, headers: [], ...more }, ends, 8_000)
  }
  return {
    send,
    request,
    pull: (id, cursor = none, more = {}, top) => request(id, 'Pull', { storeId: store, live: false, cursor, ...more }, top),
    live: (id, cursor = none) => request(id, 'Pull', { storeId: store, live: true, cursor }),
    push: (id, batch, backendId = none, more = {}) => request(id, 'Push', { storeId: store, batch, backendId, ...more }),
    /** Sent without an answer to wait for. */
    say: (value) => send(value, () => true, 0),
    backendId: () => frames.find((frame) => frame._tag === 'Chunk')?.values[0].backendId,
    close: async () => {
      socket.close(1000)
      await sleep(300)
    },
  }
}

/** Each on a connection of its own, and then a Pull that shows whether that still answers. */
const each = async (context, cases) => {
  const { note } = context
  for (const [text, value] of cases) {
    note(text)
    const ws = await connect(context)
    await ws.send(value, undefined, 1_200)
    await ws.pull(77)
    await ws.close()
  }
}
const request = (context, more = {}) => ({
  _tag: 'Request',
  id: 1,
  tag: 'SyncWsRpc.Pull',
  payload: { storeId: context.store, live: false, cursor: none },
  headers: [],
  ...more,
})

/** An HTTP request, by way of the tap. */
const post = async ({ url, sleep }, params, body, { method = 'POST', headers = { 'content-type': 'application/json' } } = {}) => {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const response = await fetch(`${url}/?${params}`, { method, headers, ...(method === 'POST' ? { body: text } : {}) })
  const answer = await response.text()
  await sleep(30)
  try {
    return JSON.parse(answer)
  } catch {
    return answer
  }
}

export const raw = {
  'ws-10-raw-pull': async (context) => {
    const { note } = context
    const ws = await connect(context)
    note('non-live pull on an empty store')
    await ws.pull(0)
    note('live pull on an empty store')
    await ws.live(1)
    const backendId = ws.backendId()
    await ws.send({ _tag: 'Interrupt', requestId: 1 })
    note('250 events')
    for (const [id, from, to] of [[2, 1, 100], [3, 101, 200], [4, 201, 250]]) await ws.push(id, events(from, to))
    note('non-live pull of 250 events')
    await ws.pull(5)
    note('live pull from a cursor')
    await ws.live(6, some({ backendId, eventSequenceNumber: 200 }))
    for (const [id, number] of [[7, 0], [8, 240], [9, 250], [10, 260]]) {
      note(`cursor ${number}`)
      await ws.pull(id, some({ backendId, eventSequenceNumber: number }))
    }
    await ws.close()
  },

  'ws-11-raw-push': async (context) => {
    const { note } = context
    const ws = await connect(context)
    note('push without a pull before, backendId None')
    await ws.push(0, [event(1)])
    await ws.live(1)
    const backendId = ws.backendId()
    note('push of two, the right backendId: Chunk and Exit')
    await ws.push(2, events(2, 3), some(backendId))
    note('empty batch')
    await ws.push(3, [], some(backendId))
    note('empty batch, wrong backendId')
    await ws.push(4, [], some('wrong'))
    note('the same again')
    await ws.push(5, events(2, 3), some(backendId))
    note('a gap within the batch')
    await ws.push(6, [event(4), event(6)], some(backendId))
    note('args: null')
    await ws.push(7, [event(7, { name: 'v1.Pinged', args: null })], some(backendId))
    note('args missing')
    await ws.push(8, [event(8, { name: 'v1.Pinged', args: undefined })], some(backendId))
    note('args a string')
    await ws.push(9, [event(8, { args: 'x' })], some(backendId))
    note('more keys than an event has')
    await ws.push(10, [event(9, { more: 1 })], some(backendId))
    note('all of it, out of storage')
    await ws.pull(11)
    await ws.close()
  },

  'ws-12-raw-push-errors': async (context) => {
    const { note } = context
    const ws = await connect(context)
    await ws.live(0)
    const backendId = ws.backendId()
    await ws.push(1, events(1, 2), some(backendId))
    note('stale parent (0, head is 2)')
    await ws.push(2, [event(1)], some(backendId))
    note('future parent (10, head is 2)')
    await ws.push(3, [event(11)], some(backendId))
    note('wrong backendId on push')
    await ws.push(4, [event(3)], some('wrong-backend-id'))
    note('wrong backendId AND stale parent')
    await ws.push(5, [event(1)], some('wrong-backend-id'))
    note('wrong backendId on non-live pull')
    await ws.pull(6, some({ backendId: 'wrong-backend-id', eventSequenceNumber: 1 }))
    note('wrong backendId on live pull')
    await ws.live(7, some({ backendId: 'wrong-backend-id', eventSequenceNumber: 1 }))
    note('push ok afterwards: do 6 and 7 still receive broadcasts?')
    await ws.push(8, [event(3)], some(backendId))
    await ws.close()
  },

  'ws-13-raw-malformed': async (context) => {
    const { store } = context
    await each(context, [
      ['not json', 'hello'],
      ['empty frame', ''],
      ['{}', '{}'],
      ['[]', '[]'],
      ['null', 'null'],
      ['a number', '5'],
      ['a string', '"x"'],
      ['a list of two requests', [request(context), request(context, { id: 2 })]],
      ['a list of null', '[null]'],
      ['binary frame of JSON', Buffer.from(JSON.stringify(request(context)))],
      ['unknown _tag', { _tag: 'Nope' }],
      ['Eof', { _tag: 'Eof' }],
      ['id missing', request(context, { id: undefined })],
      ['id null', request(context, { id: null })],
      ['id a string (as 0.4.0 has it)', request(context, { id: '1' })],
      ['id a string that is no number', request(context, { id: 'abc' })],
      ['id a fraction', request(context, { id: 1.5 })],
      ['id negative', request(context, { id: -1 })],
      ['id beyond 2^53', JSON.stringify(request(context)).replace('"id":1', '"id":9007199254740993')],
      ['headers missing', request(context, { headers: undefined })],
      ['headers of two', request(context, { headers: [['x-a', '1'], ['x-b', '2']] })],
      ['payload missing', request(context, { payload: undefined })],
      ['payload null', request(context, { payload: null })],
      ['payload.payload null', request(context, { payload: { storeId: store, payload: null, live: false, cursor: none } })],
      ['whitespace', JSON.stringify(request(context), null, 1)],
      ['Interrupt without requestId', { _tag: 'Interrupt' }],
      ['Ack without requestId', { _tag: 'Ack' }],
      ['Pong from a client', { _tag: 'Pong' }],
    ])
    context.note('the id of a running request again')
    const ws = await connect(context)
    await ws.live(1)
    await ws.live(1)
    await ws.pull(2)
    await ws.close()
  },

  'ws-14-raw-unknown-rpc-and-decode-errors': async (context) => {
    const { store } = context
    const payload = { storeId: store, live: false, cursor: none }
    const push = (batch, more = {}) => request(context, { tag: 'SyncWsRpc.Push', payload: { storeId: store, batch, backendId: none, ...more } })
    await each(context, [
      ['unknown rpc tag', request(context, { tag: 'SyncWsRpc.Nope' })],
      ['an HTTP tag', request(context, { tag: 'SyncHttpRpc.Ping', payload: { storeId: store } })],
      ['tag missing', request(context, { tag: undefined })],
      ['Pull: storeId missing', request(context, { payload: { ...payload, storeId: undefined } })],
      ['Pull: live missing', request(context, { payload: { ...payload, live: undefined } })],
      ['Pull: live a string', request(context, { payload: { ...payload, live: 'yes' } })],
      ['Pull: cursor missing', request(context, { payload: { ...payload, cursor: undefined } })],
      ['Pull: cursor null', request(context, { payload: { ...payload, cursor: null } })],
      ['Pull: cursor without a tag', request(context, { payload: { ...payload, cursor: { backendId: 'x', eventSequenceNumber: 0 } } })],
      ['Pull: cursor without backendId', request(context, { payload: { ...payload, cursor: some({ eventSequenceNumber: 0 }) } })],
      ['Pull: cursor, number a string', request(context, { payload: { ...payload, cursor: some({ backendId: 'x', eventSequenceNumber: '0' }) } })],
      ['Pull: cursor, number a fraction', request(context, { payload: { ...payload, cursor: some({ backendId: 'x', eventSequenceNumber: 1.5 }) } })],
      ['Pull: more keys', request(context, { payload: { ...payload, more: 1 } })],
      ['Push: batch missing', push(undefined)],
      ['Push: batch no list', push({})],
      ['Push: backendId missing', push([event(1)], { backendId: undefined })],
      ['Push: event without name', push([event(1, { name: undefined })])],
      ['Push: event without seqNum', push([event(1, { seqNum: undefined })])],
      ['Push: seqNum a string', push([event(1, { seqNum: '1' })])],
      ['Push: seqNum a fraction', push([event(1, { seqNum: 1.5 })])],
      ['Push: event without clientId', push([event(1, { clientId: undefined })])],
      ['Push: event without args', push([event(1, { args: undefined })])],
    ])
  },

  'ws-15-raw-ping-ack-interrupt': async (context) => {
    const { note } = context
    const ws = await connect(context)
    note('exact {"_tag":"Ping"}')
    await ws.send('{"_tag":"Ping"}')
    note('ping with whitespace')
    await ws.send('{ "_tag": "Ping" }')
    note('ping with extra key')
    await ws.send({ _tag: 'Ping', x: 1 })
    note('live pull id=1')
    await ws.live(1)
    const backendId = ws.backendId()
    note('second live pull id=2 on same socket')
    await ws.live(2)
    note('push => broadcast to ids 1 and 2 + ack')
    await ws.push(3, [event(1)], some(backendId))
    note('interrupt id=1, push')
    await ws.send({ _tag: 'Interrupt', requestId: 1 })
    await ws.push(4, [event(2)], some(backendId))
    note('interrupt of what is not there')
    await ws.send({ _tag: 'Interrupt', requestId: 99 })
    note('interrupt id="2", a string')
    await ws.send({ _tag: 'Interrupt', requestId: '2' })
    await ws.push(5, [event(3)], some(backendId))
    note('non-live pull id=6, then push: is id=6 broadcast to?')
    await ws.pull(6, some({ backendId, eventSequenceNumber: 3 }))
    await ws.push(7, [event(4)], some(backendId))
    note('an id again, once its request is done')
    await ws.pull(6, some({ backendId, eventSequenceNumber: 4 }))
    note('trace context fields')
    await ws.pull(8, some({ backendId, eventSequenceNumber: 4 }), {}, {
      traceId: '0af7651916cd43dd8448eb211c80319c',
      spanId: 'b7ad6b7169203331',
      sampled: true,
    })
    note('Ack of what is not there')
    await ws.send({ _tag: 'Ack', requestId: 98 })
    await ws.close()

    note('without Acks: 250 events, a Chunk waits for the Ack of the one before')
    const silent = await connect(context, { acks: false })
    await silent.push(0, events(5, 104))
    await silent.push(1, events(105, 204))
    await silent.push(2, events(205, 254))
    await silent.pull(3)
    note('an Ack with the id as a string')
    await silent.send({ _tag: 'Ack', requestId: '3' })
    note('an Ack')
    await silent.send({ _tag: 'Ack', requestId: 3 })
    note('three more Acks')
    for (let n = 0; n < 3; n++) await silent.say({ _tag: 'Ack', requestId: 3 })
    note('broadcasts wait for none')
    await silent.live(4, some({ backendId, eventSequenceNumber: 254 }))
    await silent.push(5, [event(255)])
    await silent.push(6, [event(256)])
    await silent.close()
  },

  'ws-16-raw-store-mismatch': async (context) => {
    const { note, store } = context
    const ws = await connect(context)
    note('the first request names another store than the URL')
    await ws.pull(0, none, { storeId: `${store}-other` })
    await ws.push(1, [event(1)], none, { storeId: `${store}-other` })
    note('the store of the URL')
    await ws.pull(2)
    await ws.push(3, [event(1)])
    await ws.close()
  },

  'ws-17-raw-large': async (context) => {
    const { note } = context
    const ws = await connect(context)
    await ws.live(0)
    note('101 events in one frame')
    await ws.push(1, events(1, 101))
    note('one event of 850 000 characters')
    await ws.push(2, [event(102, { args: { id: 'l', title: 'x'.repeat(850_000) } })])
    note('one event of 950 000 characters: above what a Chunk may have')
    await ws.push(3, [event(103, { args: { id: 'l', title: 'x'.repeat(950_000) } })])
    note('what is pulled then')
    await ws.pull(4, some({ backendId: ws.backendId(), eventSequenceNumber: 101 }))
    note('one event of 2 100 000 characters: above what a row may have')
    await ws.push(5, [event(104, { args: { id: 'l', title: 'x'.repeat(2_100_000) } })])
    await ws.pull(6, some({ backendId: ws.backendId(), eventSequenceNumber: 103 }))
    await ws.close()
  },

  'ws-18-raw-as-0.4.0': async (context) => {
    const { note } = context
    note('a client of 0.4.0 at this server: ids are strings, no payload')
    const ws = await connect(context)
    await ws.live('0')
    const backendId = ws.backendId()
    await ws.push('1', [event(1)], some(backendId))
    await ws.pull('2')
    await ws.push('3', [event(1)], some(backendId))
    await ws.send({ _tag: 'Interrupt', requestId: '0' })
    await ws.close()
  },

  'ws-19-raw-upgrade': async (context) => {
    const { put, target, store, sleep, WebSocket } = context
    for (const params of [
      `storeId=${store}&transport=ws`,
      `transport=ws`,
      `storeId=${store}`,
      `storeId=${store}&transport=http`,
      `storeId=${store}&transport=ws&payload=%25`,
      `storeId=${store}&transport=ws&payload=${encodeURIComponent('{"a":1}')}`,
      `storeId=${store}&transport=ws&payload=${encodeURIComponent(encodeURIComponent('{"a":1}'))}`,
      `storeId=${store}&transport=ws&payload=${encodeURIComponent(encodeURIComponent('{"reject":true}'))}`,
      `storeId=&transport=ws`,
    ]) {
      // Not by way of the tap, which would open what the server refuses.
      const socket = new WebSocket(`${target.replace('http', 'ws')}/?${params}`)
      const said = await new Promise((resolve) => {
        socket.once('open', () => resolve({ status: 101 }))
        socket.once('error', (error) => resolve({ error: String(error) }))
        socket.once('unexpected-response', (_request, response) => {
          let body = ''
          response.on('data', (piece) => (body += piece))
          response.on('end', () => resolve({ status: response.statusCode, body }))
        })
      })
      put({ upgrade: `/?${params}`, ...said })
      socket.terminate()
      await sleep(50)
    }
  },

  'http-02-raw-rpc': async (context) => {
    const { note, store } = context
    const params = `storeId=${store}&transport=http`
    let id = 0
    const send = (text, tag, payload, more = {}) => {
      note(text)
      return post(context, params, { _tag: 'Request', id: id++, tag: `SyncHttpRpc.${tag}`, payload: { storeId: store, ...payload }, headers: [], ...more })
    }
    const pull = (text, cursor = none, more) => send(text, 'Pull', { cursor, ...more })
    const push = (text, batch, backendId = none) => send(text, 'Push', { batch, backendId })
    await send('Ping', 'Ping', {})
    await send('Ping with payload null', 'Ping', { payload: null })
    const [{ values: [{ backendId }] }] = await pull('Pull, empty store')
    await push('Push 1, backendId None', [event(1)])
    await push('Push of two', events(2, 3), some(backendId))
    await push('Push of an empty batch', [])
    await push('Push without args', [event(4, { name: 'v1.Pinged', args: undefined })])
    await push('Push, args: null', [event(4, { name: 'v1.Pinged', args: null })])
    await push('Push, stale parent', [event(1)], some(backendId))
    await push('Push, future parent', [event(9)], some(backendId))
    await push('Push, wrong backendId', [event(5)], some('wrong'))
    await pull('Pull')
    for (const number of [0, 2, 4, 9]) await pull(`Pull, cursor ${number}`, some({ backendId, eventSequenceNumber: number }))
    await pull('Pull, wrong backendId', some({ backendId: 'wrong', eventSequenceNumber: 0 }))
    await pull('Pull, another store', none, { storeId: `${store}-other` })
    await send('unknown tag', 'Nope', {})
    await send('a WebSocket tag', 'x', { live: false, cursor: none }, { tag: 'SyncWsRpc.Pull' })
    await send('Pull without cursor', 'Pull', {})
    await send('Push without batch', 'Push', { backendId: none })
    await send('id a string', 'Ping', {}, { id: '7' })
    await send('id missing', 'Ping', {}, { id: undefined })
    await send('id null', 'Ping', {}, { id: null })
    await send('headers missing', 'Ping', {}, { headers: undefined })
    await send('payload missing', 'Ping', {}, { payload: undefined })
    const ping = (id) => ({ _tag: 'Request', id, tag: 'SyncHttpRpc.Ping', payload: { storeId: store }, headers: [] })
    for (const [text, body] of [
      ['a list of one', [ping(50)]],
      ['a list of two', [ping(51), ping(52)]],
      ['an empty list', []],
      ['{}', {}],
      ['null', 'null'],
      ['not json', 'hello'],
      ['no body', ''],
      ['{"_tag":"Ping"}', { _tag: 'Ping' }],
      ['Interrupt', { _tag: 'Interrupt', requestId: 1 }],
      ['Ack', { _tag: 'Ack', requestId: 1 }],
      ['Eof', { _tag: 'Eof' }],
      ['unknown _tag', { _tag: 'Nope' }],
    ]) {
      note(text)
      await post(context, params, body)
    }
    note('text/plain')
    await post(context, params, ping(60), { headers: { 'content-type': 'text/plain' } })
    note('NDJSON')
    await post(context, params, `${JSON.stringify(ping(61))}\n`, { headers: { 'content-type': 'application/ndjson' } })
    note('250 events')
    await push('Push of 100', events(5, 104))
    await push('Push of 100', events(105, 204))
    await push('Push of 50', events(205, 254))
    await pull('Pull of 254 events')
  },

  'http-04-raw-http-level': async (context) => {
    const { url, store, sleep } = context
    const payload = encodeURIComponent(encodeURIComponent('{"reject":true}'))
    for (const [method, path] of [
      ['GET', '/'],
      ['GET', '/some/path'],
      ['POST', '/'],
      ['OPTIONS', '/'],
      ['OPTIONS', `/?storeId=${store}&transport=http`],
      ['GET', `/?storeId=${store}&transport=http`],
      ['GET', `/?storeId=${store}&transport=ws`],
      ['GET', `/?storeId=${store}&transport=nope`],
      ['GET', `/?storeId=${store}`],
      ['POST', `/some/path?storeId=${store}&transport=http`],
      ['POST', `/?storeId=${store}&transport=http&payload=${payload}`],
      ['POST', `/?storeId=${store}&transport=http&payload=%25`],
    ]) {
      const body = JSON.stringify({ _tag: 'Request', id: 0, tag: 'SyncHttpRpc.Ping', payload: { storeId: store }, headers: [] })
      const response = await fetch(url + path, { method, ...(method === 'POST' ? { body, headers: { 'content-type': 'application/json' } } : {}) })
      await response.text()
      await sleep(30)
    }
  },
}
