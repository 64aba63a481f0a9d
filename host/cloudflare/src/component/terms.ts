// What the component says of itself before it serves (wit/gateway.wit): which
// variables it reads, which limits its host keeps for it, what clients are
// told of the host's faults. Asked once an isolate, of an instance that has
// no environment.

import type { Bounds, Faults, Variable } from '../../generated/plain/interfaces/syncline-backend-gateway.js'
import { noClaims } from './claims.js'
import { Instance } from './instance.js'
import { NO_ROOM } from './no-room.js'

/** What a component says of itself. */
export interface Terms {
  /** The variables that it reads. */
  readonly variables: Variable[]
  /** The headers that admission looks at, lower case. */
  readonly headersRead: string[]
  /** The limits that are kept for it. */
  readonly bounds: Bounds
  /** What clients are told of what goes wrong in the host. */
  readonly faults: Faults
}

let known: Terms | undefined

/** The terms of this Worker's component. */
export function terms(): Terms {
  known ??= ask()
  return known
}

function ask(): Terms {
  const { gateway } = new Instance('plain', [], { ...NO_ROOM, claims: noClaims })
  return {
    variables: gateway.variablesRead(),
    headersRead: gateway.headersRead(),
    bounds: gateway.boundsKept(),
    faults: gateway.faultsTold(),
  }
}
