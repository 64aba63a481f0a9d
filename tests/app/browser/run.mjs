// The app in a headless Chromium: `node browser/run.mjs --url URL --token T …`.
// See ../README.md for the command line and the JSON lines.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { findChromium, openProfile } from './chromium.mjs'
import { scenarios } from './scenarios.mjs'
import { Tab } from './tab.mjs'

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    store: { type: 'string', default: 'my-store' },
    token: { type: 'string' },
    'bad-token': { type: 'string' },
    'bad-code': { type: 'string', default: 'TOKEN_INVALID' },
    question: { type: 'string', default: 'What shall I do today?' },
    answer: { type: 'string' },
    todo: { type: 'string' },
    broken: { type: 'string' },
    scenario: { type: 'string', default: Object.keys(scenarios).join() },
    screenshots: { type: 'string' },
    dark: { type: 'boolean', default: false },
  },
})
if (values.url === undefined) throw new Error('--url is missing')

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** Has the caller do something to the server; goes on when it has. */
const ask = async (what) => {
  say({ ask: what })
  if ((await input.next()).done) throw new Error(`the input ended where an answer to “${what}” was due`)
}

/** The token with another signature. */
const spoilt = (token) => token?.replace(/[^.]*$/, (signature) => [...signature].reverse().join(''))

const executablePath = findChromium()

const run = async (name) => {
  const profiles = []
  const tabs = []
  const open = async () => {
    const { context, close } = await openProfile(executablePath, { colorScheme: values.dark ? 'dark' : 'light' })
    profiles.push({ close })
    return {
      offline: (offline) => context.setOffline(offline),
      tab: async () => {
        const unused = context.pages().find((page) => page.url() === 'about:blank')
        const tab = new Tab(unused ?? (await context.newPage()), values.url)
        tabs.push(tab)
        return tab
      },
    }
  }
  const photograph = async () => {
    if (values.screenshots === undefined) return
    await mkdir(values.screenshots, { recursive: true })
    for (const [n, { page }] of tabs.entries()) {
      if (!page.isClosed()) await page.screenshot({ path: join(values.screenshots, `${name}-${n}.png`) })
    }
  }
  try {
    const { store, token, question, answer, todo, broken } = values
    const said = await scenarios[name]({
      open, ask, store, token, question, answer, todo, broken,
      tell: say,
      badToken: values['bad-token'] ?? spoilt(token),
      badCode: values['bad-code'],
    })
    const errors = tabs.flatMap((tab) => tab.errors)
    if (errors.length > 0) throw new Error(`the page threw: ${errors.join('; ')}`)
    say({ scenario: name, passed: true, ...said })
    return true
  } catch (error) {
    console.error(error)
    const seen = await Promise.all(tabs.map((tab) => tab.summary().catch(String)))
    say({ scenario: name, passed: false, why: String(error?.message ?? error), errors: tabs.flatMap((tab) => tab.errors), tabs: seen })
    return false
  } finally {
    await photograph().catch((error) => console.error(error))
    await Promise.all(profiles.map(({ close }) => close()))
  }
}

let failed = 0
const names = values.scenario.split(',')
for (const name of names) {
  if (!Object.hasOwn(scenarios, name)) throw new Error(`no scenario is named ${name}: ${Object.keys(scenarios).join(', ')}`)
}
for (const name of names) failed += (await run(name)) ? 0 : 1
say({ passed: names.length - failed, failed })
process.exit(failed === 0 ? 0 : 1)
