// A tab of the app, and what a person does and sees there. Each method waits
// for what it needs to see, and fails when that has not come in WAIT_MS_MAX.

/** Only turns what never comes into a failure. LiveStore waits up to 30 s between two tries to connect. */
export const WAIT_MS_MAX = 90_000

export class Tab {
  /** What the page threw and nobody caught. */
  errors = []

  constructor(page, url) {
    this.page = page
    this.url = url
    page.setDefaultTimeout(WAIT_MS_MAX)
    page.on('pageerror', (error) => this.errors.push(String(error?.stack ?? error)))
    page.on('console', (message) => {
      if (process.env.SYNCLINE_TEST_VERBOSE) console.error(`[page] ${message.type()}: ${message.text()}`)
    })
  }

  /** Waits until `condition(argument)`, run in the page, is true. */
  async until(what, condition, argument) {
    try {
      await this.page.waitForFunction(condition, argument, { polling: 50, timeout: WAIT_MS_MAX })
    } catch (error) {
      const seen = await this.page.evaluate(() => document.body.innerText).catch(() => '')
      throw new Error(`never came: ${what} (${error.message.split('\n')[0]}); the page says: ${seen.slice(0, 500)}`)
    }
  }

  async load() {
    await this.page.goto(this.url)
  }

  async submitSignIn(store, token) {
    await this.page.getByLabel('Store').fill(store)
    await this.page.getByLabel('Token').fill(token ?? '')
    await this.page.getByRole('button', { name: 'Open' }).click()
  }

  async signIn(store, token) {
    await this.load()
    await this.submitSignIn(store, token)
    await this.connection('connected')
  }

  /** Waits until the page says that it is `connected`, `offline` or `refused`. */
  connection(state) {
    const isSo = (state) => document.querySelector('[data-connection]')?.dataset.connection === state
    return this.until(`connection ${state}`, isSo, state)
  }

  /** Waits until the page says that it was refused with this code, and why. */
  async refusal(code) {
    await this.until(`a refusal, ${code}`, (code) => document.querySelector('[role=alert]')?.dataset.code === code, code)
    return (await this.page.getByRole('alert').innerText()).trim()
  }

  /** Waits until the page says that its store has ended, for this reason. */
  ended(why) {
    return this.until(`the store's end, ${why}`, (why) => document.querySelector('[data-ended]')?.dataset.ended === why, why)
  }

  async add(title) {
    await this.page.getByLabel('New todo').fill(title)
    await this.page.getByLabel('New todo').press('Enter')
    await this.shows([title])
  }

  row(title) {
    return this.page.locator('li.todo', { has: this.page.getByLabel(`Done: ${title}`, { exact: true }) })
  }

  async check(title) {
    await this.row(title).getByRole('checkbox').click()
    await this.shows([`[x] ${title}`])
  }

  async rename(title, next) {
    const field = this.row(title).getByLabel('Title', { exact: true })
    await field.fill(next)
    await field.press('Enter')
    await this.shows([next])
  }

  async remove(title) {
    await this.row(title).getByRole('button', { name: `Delete ${title}`, exact: true }).click()
    await this.lacks([title])
  }

  /** Who looks at a failure wants to know: what the tab says of its connection, and its todos. */
  async summary() {
    if (this.page.isClosed()) return 'closed'
    const connection = await this.page.evaluate(() => document.querySelector('[data-connection]')?.dataset.connection)
    return { connection, todos: await this.todos() }
  }

  /** The todos as they are shown: `[x] title` where done. */
  todos() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll('li.todo')].map((row) =>
        (row.querySelector('[type=checkbox]').checked ? '[x] ' : '') + row.querySelector('.title').value),
    )
  }

  /** Waits until all of these are among the todos, written as `todos` does. */
  shows(todos) {
    const areThere = (wanted) => {
      const seen = new Set([...document.querySelectorAll('li.todo')].map((row) =>
        (row.querySelector('[type=checkbox]').checked ? '[x] ' : '') + row.querySelector('.title').value))
      return wanted.every((todo) => seen.has(todo))
    }
    return this.until(`the todos ${todos.join(', ')}`, areThere, todos)
  }

  /** Waits until none of these is among the todos. */
  lacks(titles) {
    const areGone = (titles) =>
      [...document.querySelectorAll('li.todo .title')].every((field) => !titles.includes(field.value))
    return this.until(`the todos ${titles.join(', ')} to be gone`, areGone, titles)
  }

  /** Draws an image of this size in the page, and uploads it as a cover. */
  async cover(title, width, height) {
    const base64 = await this.page.evaluate(async ([width, height]) => {
      const canvas = new OffscreenCanvas(width, height)
      const pen = canvas.getContext('2d')
      const sky = pen.createLinearGradient(0, 0, width, height)
      for (const [at, colour] of [[0, '#4c5fd5'], [0.55, '#c86dd7'], [1, '#ffb36b']]) sky.addColorStop(at, colour)
      pen.fillStyle = sky
      pen.fillRect(0, 0, width, height)
      const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer())
      return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
    }, [width, height])
    const file = { name: 'cover.png', mimeType: 'image/png', buffer: Buffer.from(base64, 'base64') }
    await this.row(title).locator('[type=file]').setInputFiles(file)
  }

  /** Waits until the todo's cover is there and decoded, of this width. */
  async covered(title, width) {
    await this.row(title).locator('img.cover').scrollIntoViewIfNeeded()
    const isShown = ([title, width]) => {
      const row = [...document.querySelectorAll('li.todo')].find((row) => row.querySelector('.title').value === title)
      const image = row?.querySelector('img.cover')
      return image?.complete === true && image.naturalWidth === width
    }
    await this.until(`the cover of ${title}`, isShown, [title, width])
  }

  async #submitQuestion(question) {
    await this.page.getByLabel('Ask the assistant').fill(question)
    await this.page.getByRole('button', { name: 'Ask', exact: true }).click()
  }

  /** Asks the assistant; returns all that its answer was on the way, each of which `onStep` is told, and in the end. */
  async ask(question, onStep) {
    const steps = []
    await this.page.exposeFunction('onAnswer', (text) => {
      steps.push(text)
      onStep(text)
    })
    await this.page.evaluate(() => {
      const log = document.querySelector('.talk')
      let seen
      new MutationObserver(() => {
        const text = log.querySelector('[data-answer]')?.textContent
        if (text && seen !== text) globalThis.onAnswer((seen = text))
      }).observe(log, { childList: true, subtree: true, characterData: true })
    })
    await this.#submitQuestion(question)
    await this.until('the end of the answer', () =>
      document.querySelector('.line:is(.assistant, .failure):not(.coming)') !== null &&
      document.querySelector('.talk').getAttribute('aria-busy') === 'false')
    const failure = await this.page.locator('.line.failure').allInnerTexts()
    if (failure.length > 0) throw new Error(`the assistant failed: ${failure.join('; ')}`)
    const answer = await this.page.locator('.line.assistant').last().innerText()
    return { steps, answer }
  }

  /** Asks what gets no whole answer; returns what came of it, and what the page says. */
  async askInVain(question) {
    await this.#submitQuestion(question)
    await this.until('a failure', () => document.querySelector('.line.failure') !== null)
    const answer = await this.page.locator('.line.assistant').last().innerText()
    return { answer, why: await this.page.locator('.line.failure').innerText() }
  }
}
