// What a client of LiveStore's main branch takes for an answer: tries forms
// with its own schemas. Run it as prepare.mjs bundles it: node build/decodes.mjs
import { SyncDoRpc } from '@livestore/sync-cf/src/common/do-rpc-schema.ts'
import { SyncHttpRpc } from '@livestore/sync-cf/src/common/http-rpc-schema.ts'
import { SyncWsRpc } from '@livestore/sync-cf/src/common/ws-rpc-schema.ts'
import { Result, Rpc, Schema } from '@livestore/utils/effect'

const decoders = {
  pull: Rpc.exitSchema(SyncWsRpc.requests.get('SyncWsRpc.Pull')),
  push: Rpc.exitSchema(SyncWsRpc.requests.get('SyncWsRpc.Push')),
  httpPing: Rpc.exitSchema(SyncHttpRpc.requests.get('SyncHttpRpc.Ping')),
  doPing: Rpc.exitSchema(SyncDoRpc.requests.get('SyncDoRpc.Ping')),
  chunk: SyncWsRpc.requests.get('SyncWsRpc.Pull').successSchema.success,
}
const success = (value) => ({ _tag: 'Success', value })
const failure = (cause) => ({ _tag: 'Failure', cause })
const fail = (error) => failure([{ _tag: 'Fail', error }])
const event = { name: 'n', args: {}, seqNum: 1, parentSeqNum: 0, clientId: 'c', sessionId: 's' }
const none = { _tag: 'None' }
const chunk = (eventEncoded, metadata = none, pageInfo = { _tag: 'NoMore' }, more) => ({
  batch: [{ eventEncoded: { ...event, ...eventEncoded }, metadata }],
  pageInfo,
  backendId: 'b',
  ...more,
})
const pong = { _tag: 'SyncMessage.Pong' }
const cause = { name: 'Error', message: 'm' }

for (const [decoder, ...values] of [
  ['pull', success(undefined), success(null), success({}), failure({ _tag: 'Die', defect: 'x' }), failure([])],
  ['push', success(undefined), success(null), success({})],
  ['httpPing', success(null), success({}), success(pong)],
  ['doPing', success(undefined), success(null), success({}), success(pong)],
  ['push', failure([{ _tag: 'Die' }]), failure([{ _tag: 'Die', defect: 'x' }]), failure([{ _tag: 'Die', defect: cause }])],
  ['push', ...[{}, { fiberId: null }, { fiberId: 1 }].map((more) => failure([{ _tag: 'Interrupt', ...more }]))],
  ['push', ...[{}, { cause: 'x' }, { cause, note: 'n', payload: {} }, { cause, note: null }].map((more) => fail({ _tag: 'UnknownError', ...more }))],
  ['push', fail({ minimumExpectedNum: 1, providedNum: 0, _tag: 'ServerAheadError' }), fail({ _tag: 'Nope' })],
  ['chunk', ...[{}, { more: 1 }, { args: undefined }, { args: null }, { sessionId: undefined }].map((more) => chunk(more))],
  ['chunk', chunk({}, undefined, { _tag: 'MoreUnknown' }), chunk({}, undefined, { _tag: 'MoreKnown', remaining: 1 })],
  ['chunk', chunk({}, null), chunk({}, { _tag: 'Some', value: { createdAt: 'x' } })],
  ['chunk', chunk({}, { _tag: 'Some', value: { _tag: 'SyncMessage.SyncMetadata', createdAt: 'x' } }), chunk({}, none, undefined, { more: 1 })],
]) {
  for (const value of values) {
    const text = JSON.stringify(value)
    const result = Schema.decodeUnknownResult(Schema.toCodecJson(decoders[decoder]))(JSON.parse(text))
    const why = Result.isFailure(result) ? String(result.failure).replaceAll(/\s+/g, ' ').slice(0, 120) : 'taken'
    console.log(`${decoder.padEnd(8)} ${text}\n         ${why}`)
  }
}
