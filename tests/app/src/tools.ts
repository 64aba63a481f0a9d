// What the assistant may do here: the tools that LLM_TOOLS defines on the server
// are carried out by the page, as edits like a person's.
import { nanoid } from '@livestore/livestore'
import type { ToolCall } from './assistant-stream'
import { events } from './schema'
import type { AppStore } from './store'

/** Carries out a tool call and says what was done. */
export const carryOut = ({ name, arguments: { title } }: ToolCall, store: AppStore): string => {
  if (name !== 'add_todo') return `The assistant asked for “${name}”, which this app cannot do.`
  if (typeof title !== 'string' || title.trim() === '') return 'The assistant wanted to add a todo without a title.'
  store.commit(events.todoCreated({ id: nanoid(), title: title.trim(), createdAt: Date.now() }))
  return `Added “${title.trim()}”.`
}
