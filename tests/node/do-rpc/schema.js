// The events and the table of ../driver.mjs. Not imported from there: that file
// takes over its process's stdout when it is loaded, and a worker has none.
import { Events, makeSchema, Schema, State } from '@livestore/livestore'

const text = Schema.String

export const todos = State.SQLite.table({
  name: 'todos',
  columns: {
    id: State.SQLite.text({ primaryKey: true }),
    title: State.SQLite.text(),
    completed: State.SQLite.boolean({ default: false }),
  },
})

export const events = {
  TodoCreated: Events.synced({ name: 'v1.TodoCreated', schema: Schema.Struct({ id: text, title: text }) }),
  TodoCompleted: Events.synced({ name: 'v1.TodoCompleted', schema: Schema.Struct({ id: text }) }),
  Pinged: Events.synced({ name: 'v1.Pinged', schema: Schema.Void }),
}

const materializers = State.SQLite.materializers(events, {
  // Two clients may create the same id: the first in the log wins.
  'v1.TodoCreated': ({ id, title }) => todos.insert({ id, title, completed: false }).onConflict('id', 'ignore'),
  'v1.TodoCompleted': ({ id }) => todos.update({ completed: true }).where({ id }),
  'v1.Pinged': () => [],
})

export const schema = makeSchema({ events, state: State.SQLite.makeState({ tables: { todos }, materializers }) })

/** An event of the HTTP interface, `{name, ...args}`, as LiveStore wants it. */
export const makeEvent = ({ name, ...args }) => {
  if (!Object.hasOwn(events, name)) throw new Error(`no event is named ${name}`)
  return name === 'Pinged' ? events.Pinged() : events[name](args)
}
