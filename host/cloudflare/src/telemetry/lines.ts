// The log: each line is one JSON object, which Workers Logs indexes by its
// fields. They have the names of the local host's lines (`observability.md`);
// the time is the platform's.

/** How much a line matters. */
export type Level = 'error' | 'warn' | 'info' | 'debug'

/** What a line says, beside its event and its message. */
export type Fields = Record<string, string | number | boolean | undefined>

/** Of a message, in characters: far below what Workers Logs cuts off. */
const MESSAGE_CHARS_MAX = 8_192

/** Writes a line. None of it may hold a token. */
export function write(level: Level, event: string, message: string, fields: Fields = {}): void {
  const line = oneLine({ event, level, message: message.slice(0, MESSAGE_CHARS_MAX), ...fields })
  switch (level) {
    case 'error':
      return console.error(line)
    case 'warn':
      return console.warn(line)
    case 'info':
      return console.log(line)
    case 'debug':
      return console.debug(line)
  }
}

/** JSON in which nothing that a client has written ends the line, or turns it
 * round: of JSON's own text no character is one of these. */
function oneLine(fields: Fields): string {
  return JSON.stringify(fields).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (it) => {
    let escaped = ''
    for (let at = 0; at < it.length; at++) escaped += `\\u${it.charCodeAt(at).toString(16).padStart(4, '0')}`
    return escaped
  })
}
