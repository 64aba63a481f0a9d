// Requests' bodies in an isolate's memory: each arrives as fast as its client
// likes, and all of them share 128 MB with everything else.

/** A body's first bytes are free, so that nobody can keep others' small
 * requests out. */
const FREE_BYTES = 64 * 1024

/** How long a body may be counted, in milliseconds. Its end need not be seen:
 * the runtime ends requests without their code noticing. */
const COUNTED_MS_MAX = 60_000

/** A body, as far as it is here. */
export interface Held {
  /** So many bytes more; `false` when they are too many. */
  grow(bytes: number): boolean
  /** The body is let go. */
  end(): void
}

interface Counted {
  owner: string
  bytes: number
  until: number
}

/** The bodies of one isolate. */
export class Bodies {
  private readonly counted = new Set<Counted>()

  constructor(
    /** All of them, in bytes. One owner's are half of it at the most. */
    private readonly bytesMax: number,
  ) {}

  /** A body begins to arrive, of this owner's. */
  begin(owner: string): Held {
    const body: Counted = { owner, bytes: 0, until: Date.now() + COUNTED_MS_MAX }
    this.counted.add(body)
    return {
      grow: (bytes) => {
        body.bytes += bytes
        return body.bytes <= FREE_BYTES || this.fits(owner)
      },
      end: () => {
        this.counted.delete(body)
      },
    }
  }

  private fits(owner: string): boolean {
    const now = Date.now()
    let all = 0
    let owners = 0
    for (const body of this.counted) {
      if (body.until < now) this.counted.delete(body)
      else {
        all += body.bytes
        if (body.owner === owner) owners += body.bytes
      }
    }
    return all <= this.bytesMax && owners <= this.bytesMax / 2
  }
}
