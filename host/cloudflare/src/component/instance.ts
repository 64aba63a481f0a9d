// Instances of the guest component. It was transpiled twice into the same
// core modules (build.mjs): `plain` never waits, `waiting` may.

import { cores } from '../../generated/cores.js'
import { type ImportObject, instantiate as instantiatePlain, type Root } from '../../generated/plain/guest.js'
import { instantiate as instantiateWaiting } from '../../generated/waiting/guest.js'
import { wasi } from './wasi.js'
import { diagnostics } from './diagnostics.js'
import { noQuotas } from './quotas.js'
import { noTelemetry } from './telemetry.js'

/** A function's twin that may wait. */
type MayWait<F> = F extends (...args: infer A) => infer R ? (...args: A) => R | Promise<R> : F

/** An interface whose functions may wait. */
export type Waiting<I> = { [K in keyof I]: MayWait<I[K]> }

/** The guest's room, as either transpile exports it. */
export type RoomExports = Waiting<Root['room']>

/** The guest's gateway: only `admit` waits. */
export type GatewayExports = Omit<Root['gateway'], 'admit'> & Waiting<Pick<Root['gateway'], 'admit'>>

/** The guest's relay, which may ask for quotas. */
export type RelayExports = Waiting<Root['relay']>

/** The imports that are not the same for every instance. */
export interface Imports {
  claims: Waiting<ImportObject['syncline:backend/claims@0.1.0']>
  connections: ImportObject['syncline:backend/connections@0.1.0']
  eventLog: Waiting<ImportObject['syncline:backend/event-log@0.1.0']>
  timer: ImportObject['syncline:backend/timer@0.1.0']
  /** Without them, for whoever relays nothing. */
  quotas?: Waiting<ImportObject['syncline:backend/quotas@0.1.0']>
  /** Without it, for whoever tells nobody. */
  telemetry?: ImportObject['syncline:backend/telemetry@0.1.0']
}

/**
 * An instance's memory, in bytes, from which on it is let go after a turn: a
 * large frame made it grow, it never shrinks, and an isolate's 128 MB serve
 * many rooms.
 */
const MEMORY_KEPT_BYTES_MAX = 16 * 1024 * 1024

/** A running instance. */
export class Instance {
  readonly room: RoomExports
  readonly gateway: GatewayExports
  readonly images: Root['images']
  readonly relay: RelayExports
  private memory: WebAssembly.Memory | undefined

  constructor(kind: 'plain' | 'waiting', variables: Array<[string, string]>, imports: Imports) {
    const all: Waiting<ImportObject> | Record<string, unknown> = {
      'syncline:backend/claims@0.1.0': imports.claims,
      'syncline:backend/connections@0.1.0': imports.connections,
      'syncline:backend/diagnostics@0.1.0': diagnostics,
      'syncline:backend/event-log@0.1.0': imports.eventLog,
      'syncline:backend/quotas@0.1.0': imports.quotas ?? noQuotas,
      'syncline:backend/telemetry@0.1.0': imports.telemetry ?? noTelemetry,
      'syncline:backend/timer@0.1.0': imports.timer,
      ...wasi(variables),
    }
    const instantiate = kind === 'plain' ? instantiatePlain : instantiateWaiting
    const root = instantiate(core, unversioned(all) as unknown as ImportObject, (module, coreImports) => {
      const instance = new WebAssembly.Instance(module, coreImports)
      const { memory } = instance.exports
      if (memory instanceof WebAssembly.Memory) this.memory ??= memory
      return instance
    })
    this.room = root.room
    this.gateway = root.gateway
    this.images = root.images
    this.relay = root.relay
  }

  /** Whether it holds more memory than is kept for an idle room. */
  get isBloated(): boolean {
    return (this.memory?.buffer.byteLength ?? 0) > MEMORY_KEPT_BYTES_MAX
  }
}

function core(path: string): WebAssembly.Module {
  const module = cores[path]
  if (!module) throw new Error(`the bundle has no ${path}`)
  return module
}

/** jco's types name interfaces with their version, its code without. */
function unversioned(imports: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(imports).map(([name, it]) => [name.replace(/@.*$/, ''), it]))
}
