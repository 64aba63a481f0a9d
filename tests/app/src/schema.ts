// What page and worker share: the table, the events, and what they do to it.
import { Events, makeSchema, Schema, State } from '@livestore/livestore'

const { String: Text } = Schema

const todos = State.SQLite.table({
  name: 'todos',
  columns: {
    id: State.SQLite.text({ primaryKey: true }),
    title: State.SQLite.text(),
    done: State.SQLite.boolean({ default: false }),
    coverUrl: State.SQLite.text({ nullable: true }),
    /** Milliseconds since 1970, of the clock that it was made by. */
    createdAt: State.SQLite.integer(),
  },
})

export const tables = { todos }

export type Todo = typeof todos.Type

/** Events are for ever: a change to one is a new one, with a new version in its name. */
export const events = {
  todoCreated: Events.synced({
    name: 'v1.TodoCreated',
    schema: Schema.Struct({ id: Text, title: Text, createdAt: Schema.Number }),
  }),
  todoRenamed: Events.synced({ name: 'v1.TodoRenamed', schema: Schema.Struct({ id: Text, title: Text }) }),
  todoChecked: Events.synced({ name: 'v1.TodoChecked', schema: Schema.Struct({ id: Text, done: Schema.Boolean }) }),
  // The event holds the image's address, never the image: events are small.
  todoCovered: Events.synced({
    name: 'v1.TodoCovered',
    schema: Schema.Struct({ id: Text, coverUrl: Schema.NullOr(Text) }),
  }),
  todoDeleted: Events.synced({ name: 'v1.TodoDeleted', schema: Schema.Struct({ id: Text }) }),
}

const materializers = State.SQLite.materializers(events, {
  'v1.TodoCreated': ({ id, title, createdAt }) =>
    // LiveStore 0.4.0 may meet its own event twice after a conflict.
    todos.insert({ id, title, done: false, coverUrl: null, createdAt }).onConflict('id', 'ignore'),
  'v1.TodoRenamed': ({ id, title }) => todos.update({ title }).where({ id }),
  'v1.TodoChecked': ({ id, done }) => todos.update({ done }).where({ id }),
  'v1.TodoCovered': ({ id, coverUrl }) => todos.update({ coverUrl }).where({ id }),
  'v1.TodoDeleted': ({ id }) => todos.delete().where({ id }),
})

export const schema = makeSchema({ events, state: State.SQLite.makeState({ tables, materializers }) })
