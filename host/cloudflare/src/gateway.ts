// The gateway on Workers: a small pool of instances that admit requests,
// before any Durable Object is touched (I6). KV makes admission wait, and a
// guest that waits must not be entered again: hence a pool.

import type { Admission, Decision, Denial, Refusal, Request as GuestRequest, Response as GuestResponse, Verdict } from '../generated/plain/interfaces/syncline-backend-gateway.js'
import { claims } from './component/claims.js'
import { Instance } from './component/instance.js'
import { NO_ROOM } from './component/no-room.js'
import { quotas } from './component/quotas.js'
import { relayed } from './component/telemetry.js'
import { terms } from './component/terms.js'
import { checkBindings, ConfigurationError, type Env, equipment, variables } from './configuration.js'
import { write } from './telemetry/lines.js'
import { Telemetry } from './telemetry/telemetry.js'

export type { Admission, Refusal, GuestResponse, Verdict }

/** Instances kept for the next request: more are made when they are needed.
 * One request cannot wait for another's instance: the runtime ends requests
 * without their code noticing, and what waits across them hangs. */
const POOLED_MAX = 8

/** Tells the guest what the shim itself cannot work with (guest/src/config.rs). */
const HOST_MISCONFIGURED = 'HOST_MISCONFIGURED'

/** Admission. */
export class Gateway {
  private readonly variables: Array<[string, string]>
  private readonly pool: Instance[] = []
  private static shared: Gateway | undefined

  /** The isolate's gateway. Its bindings are the same for all that it runs. */
  static of(env: Env): Gateway {
    Gateway.shared ??= new Gateway(env)
    return Gateway.shared
  }

  private constructor(private readonly env: Env) {
    this.variables = [...variables(env, terms().variables), ...equipment(env), ...Telemetry.of(env).variables]
    const instance = this.instantiate()
    const fault = this.check(instance)
    if (fault === undefined) this.pool.push(instance)
    // Whoever asks is told by the guest, which logs what is wrong each time.
    else this.variables.push([HOST_MISCONFIGURED, fault])
  }

  /** What is wrong with the configuration: it names the variable or binding. */
  private check({ gateway }: Instance): string | undefined {
    try {
      const summary = gateway.check()
      checkBindings(this.env, summary)
      Telemetry.of(this.env).check()
      for (const warning of summary.warnings) write('warn', 'configuration', warning)
      for (const service of summary.services) write('info', 'configuration', `serves ${service}`)
      return undefined
    } catch (error) {
      const words = error instanceof ConfigurationError ? error.message : guestError(error)
      // Traps and the like.
      if (words === undefined) throw error
      return words
    }
  }

  /** Decides on a request. */
  admit(request: GuestRequest): Promise<Decision> {
    return this.call(({ gateway }) => gateway.admit(request))
  }

  /** Decides on a call by another Durable Object: lets it in, or answers. */
  admitCall(body: Uint8Array): Promise<{ admission: Admission } | Denial> {
    return this.call(({ gateway }) => {
      try {
        return { admission: gateway.admitCall(body) }
      } catch (error) {
        const { payload } = Object(error) as { payload?: Denial }
        if (payload?.answer === undefined) throw error
        return payload
      }
    })
  }

  /** The answer to a refused HTTP request. */
  refuse(refusal: Refusal, body: Uint8Array): Promise<GuestResponse> {
    return this.call(({ gateway }) => gateway.refuse(refusal, body))
  }

  /** Borrows an instance, for a service's decision. One that traps is not put
   * back. */
  async call<T>(call: (instance: Instance) => T | Promise<T>): Promise<T> {
    const instance = this.pool.pop() ?? this.instantiate()
    const result = await call(instance)
    if (this.pool.length < POOLED_MAX && !instance.isBloated) this.pool.push(instance)
    return result
  }

  private instantiate(): Instance {
    return new Instance('waiting', this.variables, {
      ...NO_ROOM,
      claims: claims(this.env.WORKSPACE_CLAIMS_VERSION),
      quotas: quotas(this.env.QUOTAS),
      telemetry: relayed,
    })
  }
}

/** The text that a guest's function failed with; `undefined` for a trap. */
function guestError(error: unknown): string | undefined {
  const { payload } = Object(error) as { payload?: unknown }
  return typeof payload === 'string' ? payload : undefined
}
