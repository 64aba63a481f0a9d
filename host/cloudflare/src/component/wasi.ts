// The few WASI functions that the guest uses: time, random bytes and the
// environment; and what Rust's standard library links but the guest does not
// reach. Whatever else a component asks for is not here, and does not start.

import type { ImportObject } from '../../generated/plain/guest.js'
import { logGuestOutput } from './diagnostics.js'

type WasiImports = {
  [Name in keyof ImportObject as Name extends `wasi:${string}` ? Name : never]: ImportObject[Name]
}

/** Stands for resources that are never used. */
class Nothing {
  [Symbol.dispose](): void {}
}

/** Where a panic's message goes, before the trap. */
class Output {
  private text = ''

  checkWrite(): bigint {
    return 4096n
  }

  write(contents: Uint8Array): void {
    this.text += new TextDecoder().decode(contents)
    const end = this.text.lastIndexOf('\n')
    if (end < 0) return
    logGuestOutput(this.text.slice(0, end))
    this.text = this.text.slice(end + 1)
  }

  blockingFlush(): void {}

  subscribe(): Nothing {
    return new Nothing()
  }

  [Symbol.dispose](): void {}
}

/** WASI for one instance, whose environment is `variables`. */
export function wasi(variables: Array<[string, string]>): WasiImports {
  const stream = () => new Output()
  const nothing = () => undefined
  const imports = {
    'wasi:cli/environment@0.2.6': { getEnvironment: () => variables },
    'wasi:cli/exit@0.2.6': {
      exit: () => {
        throw new Error('the guest wanted to exit')
      },
    },
    'wasi:cli/stdin@0.2.6': { getStdin: () => new Nothing() },
    'wasi:cli/stdout@0.2.6': { getStdout: stream },
    'wasi:cli/stderr@0.2.6': { getStderr: stream },
    'wasi:cli/terminal-input@0.2.6': { TerminalInput: Nothing },
    'wasi:cli/terminal-output@0.2.6': { TerminalOutput: Nothing },
    'wasi:cli/terminal-stdin@0.2.6': { getTerminalStdin: nothing },
    'wasi:cli/terminal-stdout@0.2.6': { getTerminalStdout: nothing },
    'wasi:cli/terminal-stderr@0.2.6': { getTerminalStderr: nothing },
    'wasi:clocks/monotonic-clock@0.2.6': { now: () => BigInt(Date.now()) * 1_000_000n },
    'wasi:clocks/wall-clock@0.2.6': {
      now: () => {
        const now = Date.now()
        const seconds = Math.floor(now / 1000)
        return { seconds: BigInt(seconds), nanoseconds: (now - seconds * 1000) * 1_000_000 }
      },
    },
    'wasi:io/error@0.2.6': { Error: Nothing },
    'wasi:io/poll@0.2.6': { Pollable: Nothing },
    'wasi:io/streams@0.2.6': { InputStream: Nothing, OutputStream: Output },
    'wasi:random/random@0.2.6': {
      getRandomU64: () => {
        const [value] = crypto.getRandomValues(new BigUint64Array(1))
        return value ?? 0n
      },
    },
    'wasi:random/insecure-seed@0.2.6': {
      insecureSeed: () => {
        const [low, high] = crypto.getRandomValues(new BigUint64Array(2))
        return [low ?? 0n, high ?? 0n]
      },
    },
  } satisfies Record<keyof WasiImports, object>
  // Their classes have no public constructors to be compatible with.
  return imports as unknown as WasiImports
}
