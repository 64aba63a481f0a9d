import { Component, type ReactNode } from 'react'

/** Instead of the app, when it cannot go on. */
export const Ended = ({ why }: { why: string }) => (
  <main className="card sign-in" role="alert" data-ended={why}>
    <h1>This store has ended</h1>
    {why === 'backend-id-mismatch' ? (
      <p>The server’s store is another one than this browser knew: it was deleted, or put back from a backup.</p>
    ) : (
      <>
        <p>The todos of this browser cannot be kept any more.</p>
        <pre>{why}</pre>
      </>
    )}
    <button type="button" className="primary" onClick={() => location.reload()}>
      Begin again with the server’s
    </button>
  </main>
)

/** Catches what the app throws, such as a store that could not be opened. */
export class Failed extends Component<{ children: ReactNode }, { why?: string }> {
  override state: { why?: string } = {}

  static getDerivedStateFromError(error: unknown) {
    return { why: error instanceof Error ? error.message : String(error) }
  }

  override render() {
    return this.state.why === undefined ? this.props.children : <Ended why={this.state.why} />
  }
}
