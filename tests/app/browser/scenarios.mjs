// What two people with a browser each may expect. Each scenario gets `open()`,
// which starts a browser with a profile of its own, and what the command line says.
// Where several tabs of a browser are open, one acts at a time: LiveStore 0.4.0 can
// keep a tab's last edit, or end its store, if another tab's or another browser's
// comes at the same instant, whatever the server does (PROTOCOL.md, "What real
// clients do"). Who edits at once with whom is `real_clients`' to try.
import assert from 'node:assert/strict'

/** Both show the same, in the same order: nothing is on its way any more that one of them knows of. */
const agree = async (tabs) => {
  const lists = await Promise.all(tabs.map((tab) => tab.todos()))
  for (const list of lists) assert.deepEqual(list, lists[0])
}

/** One tab acts; every tab then shows `shown`, and nothing of `gone`. */
const inTurn = async (tabs, act, shown, gone = []) => {
  await act
  for (const tab of tabs) {
    await tab.shows(shown)
    await tab.lacks(gone)
  }
}

const signedIn = async (profile, { store, token }) => {
  const tab = await profile.tab()
  await tab.signIn(store, token)
  return tab
}

export const scenarios = {
  /** Two profiles and two tabs of each converge; and a tab goes on when the one before it, which synced for both, is closed. */
  async converge({ open, store, token }) {
    const [ada, bob] = [await open(), await open()]
    const first = [await signedIn(ada, { store, token }), await signedIn(bob, { store, token })]
    const second = [await ada.tab(), await bob.tab()]
    for (const tab of second) {
      await tab.load()
      await tab.connection('connected')
    }
    const tabs = [...first, ...second]

    for (const [n, tab] of tabs.entries()) await inTurn(tabs, tab.add(`converge ${n}`), [`converge ${n}`])
    await inTurn(tabs, second[1].check('converge 0'), ['[x] converge 0'])
    await inTurn(tabs, first[0].rename('converge 1', 'converge one'), ['converge one'], ['converge 1'])
    await inTurn(tabs, second[0].remove('converge 2'), ['[x] converge 0', 'converge one', 'converge 3'], ['converge 2'])
    await agree(tabs)

    await first[0].page.close()
    await second[0].add('converge after closing')
    await first[1].shows(['converge after closing'])
    await first[1].add('converge back')
    await second[0].shows(['converge back'])
    await second[0].connection('connected')
  },

  /** What both do offline is there in the end, for both. */
  async offline({ open, store, token }) {
    const [ada, bob] = [await open(), await open()]
    const [a, b] = [await signedIn(ada, { store, token }), await signedIn(bob, { store, token })]
    await a.add('offline common')
    await b.shows(['offline common'])

    await ada.offline(true)
    await a.connection('offline')
    await bob.offline(true)
    await b.connection('offline')
    await a.rename('offline common', 'offline renamed by a')
    await a.add('offline a')
    await b.check('offline common')
    await b.add('offline b')
    for (const tab of [a, b]) await tab.connection('offline')
    await a.lacks(['offline b'])
    await b.lacks(['offline a'])

    await ada.offline(false)
    await a.connection('connected')
    await bob.offline(false)
    await b.connection('connected')
    for (const tab of [a, b]) await tab.shows(['offline a', 'offline b', '[x] offline renamed by a'])
    await agree([a, b])
  },

  /** The server is killed and comes back; edits made meanwhile arrive. */
  async restart({ open, store, token, ask }) {
    const [ada, bob] = [await open(), await open()]
    const [a, b] = [await signedIn(ada, { store, token }), await signedIn(bob, { store, token })]
    await a.add('restart before')
    await b.shows(['restart before'])

    await ask('kill')
    await a.connection('offline')
    await b.connection('offline')
    await a.add('restart meanwhile a')
    await b.add('restart meanwhile b')

    await ask('start')
    await a.connection('connected')
    await b.connection('connected')
    for (const tab of [a, b]) await tab.shows(['restart before', 'restart meanwhile a', 'restart meanwhile b'])
    await agree([a, b])
  },

  /** The server has another log than before: the page says so, and begins again with it. */
  async reset({ open, store, token, ask }) {
    const a = await signedIn(await open(), { store, token })
    await a.add('reset before')
    const b = await signedIn(await open(), { store, token })
    await b.shows(['reset before'])
    await ask('reset')
    await a.ended('backend-id-mismatch')
    await a.page.getByRole('button', { name: 'Begin again' }).click()
    await a.connection('connected')
    await a.lacks(['reset before'])
    await a.add('reset after')
    await b.ended('backend-id-mismatch')
    await b.page.getByRole('button', { name: 'Begin again' }).click()
    await b.shows(['reset after'])
  },

  /** A token that is refused: the page says why, when signing in and later; edits are kept, and sync with a better one. */
  async refused({ open, store, token, badToken, badCode }) {
    assert.ok(badToken, 'this scenario needs --token or --bad-token')
    const [ada, bob] = [await open(), await open()]
    const a = await ada.tab()
    await a.load()
    await a.submitSignIn(store, badToken)
    const atTheDoor = await a.refusal(badCode)

    // A session that was good once: it is in the browser, and the server has changed its mind.
    await a.page.evaluate((session) => localStorage.setItem('syncline-app:session', session),
      JSON.stringify({ id: 'was-good', storeId: store, token: badToken }))
    await a.load()
    await a.connection('refused')
    const inside = await a.refusal(badCode)
    for (const text of [atTheDoor, inside]) assert.match(text, new RegExp(`[a-z]{3} .*${badCode}`, 's'), 'a reason in words, and the code')
    await a.add('refused and kept')

    await a.page.getByRole('button', { name: 'Sign in again' }).click()
    await a.submitSignIn(store, token)
    await a.connection('connected')
    const b = await signedIn(bob, { store, token })
    await b.shows(['refused and kept'])
    return { atTheDoor, inside }
  },

  /** An image that one uploads is shown in the other's browser. */
  async image({ open, store, token }) {
    const [ada, bob] = [await open(), await open()]
    const [a, b] = [await signedIn(ada, { store, token }), await signedIn(bob, { store, token })]
    await a.add('image of a sunset')
    await b.shows(['image of a sunset'])
    await a.cover('image of a sunset', 640, 360)
    await a.covered('image of a sunset', 640)
    await b.covered('image of a sunset', 640)
    return { url: await b.row('image of a sunset').locator('img.cover').getAttribute('src') }
  },

  /** The assistant's answer grows while it comes; it adds a todo; and where an answer breaks off, the page says so. */
  async assistant({ open, store, token, tell, question, broken, answer: expected, todo }) {
    const a = await signedIn(await open(), { store, token })
    const { steps, answer } = await a.ask(question, (sees) => tell({ sees }))
    const growing = steps.filter((text, n) => n === 0 || (text.length > steps[n - 1].length && text.startsWith(steps[n - 1])))
    assert.ok(growing.length > 1, `the answer grows in more than one step: ${JSON.stringify(steps)}`)
    if (expected !== undefined) assert.equal(answer, expected)
    if (todo !== undefined) await a.shows([todo])
    return { steps: growing.length, ...(broken !== undefined && { broken: await a.askInVain(broken) }) }
  },
}
