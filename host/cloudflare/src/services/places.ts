// How much of a kind may be under way at once, in this isolate.

/** A place that is taken. */
export interface Place {
  /** It is still in use. */
  keep(): void
  end(): void
}

/** So many places. Nobody waits for one: the runtime ends requests without
 * their code noticing, and what waits across them hangs. For the same reason
 * a place that nobody has used for a while is free again. */
export class Places {
  private readonly taken = new Map<object, number>()

  constructor(
    private readonly max: number,
    private readonly unusedMsMax: number,
  ) {}

  /** A place, if one is free. */
  take(): Place | undefined {
    if (this.taken.size >= this.max) this.clear()
    if (this.taken.size >= this.max) return undefined
    const place = {
      keep: () => {
        if (this.taken.has(place)) this.taken.set(place, Date.now())
      },
      end: () => {
        this.taken.delete(place)
      },
    }
    this.taken.set(place, Date.now())
    return place
  }

  private clear(): void {
    const before = Date.now() - this.unusedMsMax
    for (const [place, used] of this.taken) {
      if (used < before) this.taken.delete(place)
    }
  }
}
