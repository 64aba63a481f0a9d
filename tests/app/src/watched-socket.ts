// LiveStore 0.4.0 pulls again after a socket that was closed. After one that
// went dead without a word (a network that dropped, a machine that slept) it
// connects again and does not: it shows nothing new, and says that all is well.
// So a socket whose ping is not answered is closed here, before LiveStore's own
// time-out of 10 s sees it. Repaired after 0.4.0.

/** How long a ping, which LiveStore sends every 10 s, may wait for any message at all. */
const ANSWER_MS_MAX = 5_000

const PING = '{"_tag":"Ping"}'

class WatchedSocket extends WebSocket {
  #watch: ReturnType<typeof setTimeout> | undefined

  constructor(url: string | URL, protocols?: string | string[]) {
    super(url, protocols)
    this.addEventListener('message', () => this.#unwatch())
    this.addEventListener('close', () => this.#unwatch())
  }

  override send(data: Parameters<WebSocket['send']>[0]): void {
    if (data === PING) this.#watch ??= setTimeout(() => this.#abandon(), ANSWER_MS_MAX)
    super.send(data)
  }

  #unwatch() {
    clearTimeout(this.#watch)
    this.#watch = undefined
  }

  /** A closing handshake would wait for the other side, which is gone. */
  #abandon() {
    this.dispatchEvent(new CloseEvent('close', { code: 1006, reason: 'no answer' }))
    this.close()
  }
}

/** Has LiveStore use it: `makeWsSync` takes the global one. */
export const watchSockets = (): void => {
  globalThis.WebSocket = WatchedSocket
}
