import { nanoid, queryDb } from '@livestore/livestore'
import { type FormEvent, useState } from 'react'
import { events, tables } from './schema'
import type { Session } from './session'
import type { AppStore } from './store'
import { TodoItem } from './TodoItem'

const todos$ = queryDb(
  tables.todos.orderBy([
    { col: 'done', direction: 'asc' },
    { col: 'createdAt', direction: 'desc' },
    { col: 'id', direction: 'asc' },
  ]),
  { label: 'todos' },
)

export const Todos = ({ store, session }: { store: AppStore; session: Session }) => {
  const todos = store.useQuery(todos$)
  const [title, setTitle] = useState('')
  const open = todos.filter((todo) => !todo.done).length

  const onSubmit = (event: FormEvent) => {
    event.preventDefault()
    if (title.trim() === '') return
    store.commit(events.todoCreated({ id: nanoid(), title: title.trim(), createdAt: Date.now() }))
    setTitle('')
  }

  return (
    <main className="todos">
      <form className="add" onSubmit={onSubmit}>
        <label className="hidden" htmlFor="add">
          New todo
        </label>
        <input
          id="add"
          value={title}
          onChange={(event) => setTitle(event.target.value)}
          placeholder="What is to be done?"
          autoComplete="off"
          autoFocus
        />
        <button type="submit" className="primary">
          Add
        </button>
      </form>
      {todos.length === 0 ? (
        <p className="empty">Nothing yet. Add something, and open this page in another browser.</p>
      ) : (
        <>
          <ul>
            {todos.map((todo) => (
              <TodoItem key={todo.id} todo={todo} store={store} session={session} />
            ))}
          </ul>
          <p className="muted small">
            {open} open, {todos.length - open} done
          </p>
        </>
      )}
    </main>
  )
}
