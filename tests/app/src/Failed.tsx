import { Component, type ReactNode } from 'react'

/** What is shown instead of the app when the store could not be opened, or died. */
export class Failed extends Component<{ children: ReactNode }, { why?: string }> {
  override state: { why?: string } = {}

  static getDerivedStateFromError(error: unknown) {
    return { why: error instanceof Error ? error.message : String(error) }
  }

  override render() {
    if (this.state.why === undefined) return this.props.children
    return (
      <main className="card sign-in" role="alert">
        <h1>This did not work</h1>
        <p>The todos of this browser could not be opened.</p>
        <pre>{this.state.why}</pre>
        <button type="button" className="primary" onClick={() => location.reload()}>
          Load the page again
        </button>
      </main>
    )
  }
}
