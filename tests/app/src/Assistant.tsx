import { type FormEvent, useEffect, useRef, useState } from 'react'
import { askAssistant, type Turn } from './assistant-stream'
import type { Session } from './session'
import type { AppStore } from './store'
import { carryOut } from './tools'

/** What the server takes. */
const MESSAGE_CHARS_MAX = 10_000

type Line = Turn | { role: 'note' | 'failure'; content: string }

const isTurn = (line: Line): line is Turn => line.role === 'user' || line.role === 'assistant'

export const Assistant = ({ store, session }: { store: AppStore; session: Session }) => {
  const [lines, setLines] = useState<Line[]>([])
  const [message, setMessage] = useState('')
  // The answer so far, while one comes.
  const [answer, setAnswer] = useState<string>()
  const asking = useRef<AbortController>(undefined)
  const end = useRef<HTMLDivElement>(null)

  useEffect(() => () => asking.current?.abort(), [])
  useEffect(() => end.current?.scrollIntoView({ block: 'nearest' }), [lines, answer])

  const say = (line: Line) => setLines((lines) => [...lines, line])

  const ask = async (question: string) => {
    const abort = new AbortController()
    asking.current = abort
    const history = lines.filter(isTurn)
    say({ role: 'user', content: question })
    setAnswer('')
    let text = ''
    try {
      for await (const event of askAssistant(question, history, session, abort.signal)) {
        if (event.type === 'delta') {
          text += event.text
          setAnswer(text)
          continue
        }
        if (text !== '') say({ role: 'assistant', content: text })
        for (const call of event.toolCalls) say({ role: 'note', content: carryOut(call, store) })
        if (!event.isWhole) say({ role: 'note', content: 'The answer is cut short: the model had no room left.' })
      }
    } catch (error) {
      if (text !== '') say({ role: 'assistant', content: text })
      if (abort.signal.aborted) say({ role: 'note', content: 'Stopped.' })
      else say({ role: 'failure', content: error instanceof Error ? error.message : String(error) })
    } finally {
      setAnswer(undefined)
    }
  }

  const onSubmit = (event: FormEvent) => {
    event.preventDefault()
    const question = message.trim()
    if (question === '' || answer !== undefined) return
    setMessage('')
    void ask(question)
  }

  return (
    <aside className="assistant card" aria-labelledby="assistant-name">
      <h2 id="assistant-name">Assistant</h2>
      <div className="talk" role="log" aria-busy={answer !== undefined}>
        {lines.length === 0 && answer === undefined && (
          <p className="muted">Ask about anything. It goes through the server, which has the key.</p>
        )}
        {lines.map(({ role, content }, index) => (
          <p key={index} className={`line ${role}`} {...(role === 'failure' && { role: 'alert' })}>
            {content}
          </p>
        ))}
        {answer !== undefined && (
          <p className="line assistant coming" data-answer="coming">
            {answer}
          </p>
        )}
        <div ref={end} />
      </div>
      <form onSubmit={onSubmit}>
        <label className="hidden" htmlFor="ask">
          Ask the assistant
        </label>
        <input
          id="ask"
          value={message}
          onChange={(event) => setMessage(event.target.value)}
          placeholder="Ask the assistant"
          maxLength={MESSAGE_CHARS_MAX}
          autoComplete="off"
        />
        {answer === undefined ? (
          <button type="submit">Ask</button>
        ) : (
          <button type="button" onClick={() => asking.current?.abort()}>
            Stop
          </button>
        )}
      </form>
    </aside>
  )
}
