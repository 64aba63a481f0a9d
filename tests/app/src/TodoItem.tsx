import { type ChangeEvent, type KeyboardEvent, useRef, useState } from 'react'
import { IMAGE_TYPES, uploadImage } from './images'
import { events, type Todo } from './schema'
import type { Session } from './session'
import type { AppStore } from './store'

export const TodoItem = ({ todo, store, session }: { todo: Todo; store: AppStore; session: Session }) => {
  const { id, title, done, coverUrl } = todo
  // What is being typed, as long as it is: others' edits do not touch it.
  const [draft, setDraft] = useState<string>()
  const [uploading, setUploading] = useState(false)
  const [failure, setFailure] = useState<string>()
  const dialog = useRef<HTMLInputElement>(null)

  const rename = () => {
    const next = draft?.trim()
    if (next !== undefined && next !== '' && next !== title) store.commit(events.todoRenamed({ id, title: next }))
    setDraft(undefined)
  }

  const onKey = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.key === 'Enter') event.currentTarget.blur()
    if (event.key === 'Escape') setDraft(undefined)
  }

  const onFile = async ({ target }: ChangeEvent<HTMLInputElement>) => {
    const file = target.files?.[0]
    target.value = ''
    if (file === undefined) return
    setUploading(true)
    setFailure(undefined)
    try {
      store.commit(events.todoCovered({ id, coverUrl: await uploadImage(file, session) }))
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error))
    } finally {
      setUploading(false)
    }
  }

  return (
    <li className={done ? 'todo card done' : 'todo card'} data-todo={id}>
      {coverUrl !== null && <img className="cover" src={coverUrl} alt={`Cover of ${title}`} loading="lazy" />}
      <div className="row">
        <input
          type="checkbox"
          checked={done}
          onChange={() => store.commit(events.todoChecked({ id, done: !done }))}
          aria-label={`Done: ${title}`}
        />
        <input
          className="title"
          value={draft ?? title}
          onChange={(event) => setDraft(event.target.value)}
          onBlur={rename}
          onKeyDown={onKey}
          aria-label="Title"
        />
        <input ref={dialog} type="file" accept={IMAGE_TYPES} onChange={onFile} hidden aria-label={`Cover for ${title}`} />
        <button
          type="button"
          className="quiet"
          disabled={uploading}
          onClick={() => dialog.current?.click()}
          aria-label={`${coverUrl === null ? 'Add' : 'Change'} cover of ${title}`}
        >
          {uploading ? 'Uploading…' : 'Cover'}
        </button>
        {coverUrl !== null && (
          <button
            type="button"
            className="quiet"
            onClick={() => store.commit(events.todoCovered({ id, coverUrl: null }))}
            aria-label={`Remove cover of ${title}`}
          >
            No cover
          </button>
        )}
        <button
          type="button"
          className="quiet danger"
          onClick={() => store.commit(events.todoDeleted({ id }))}
          aria-label={`Delete ${title}`}
        >
          Delete
        </button>
      </div>
      {failure !== undefined && (
        <p className="notice refused" role="alert">
          {failure}
        </p>
      )}
    </li>
  )
}
