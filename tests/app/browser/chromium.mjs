// The browser: Debian's Chromium or another, driven by Playwright.
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { chromium } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

const isProgram = (path) => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The path of Chromium: `CHROMIUM`, or one on the PATH. Throws where there is none. */
export const findChromium = () => {
  const named = process.env.CHROMIUM
  if (named) {
    if (isProgram(named)) return named
    throw new Error(`CHROMIUM is ${named}, which is no program`)
  }
  const places = (process.env.PATH ?? '').split(delimiter)
  const found = NAMES.flatMap((name) => places.map((place) => join(place, name))).find(isProgram)
  if (found) return found
  throw new Error(`no Chromium on the PATH (${NAMES.join(', ')}): install one (Debian: apt-get install chromium), or name it in CHROMIUM`)
}

/**
 * A person's browser: a profile on the disk, in a process of its own, that
 * shares nothing with another's.
 */
export const openProfile = async (executablePath, options = {}) => {
  const dir = await mkdtemp(join(tmpdir(), 'syncline-profile-'))
  const context = await chromium.launchPersistentContext(dir, {
    executablePath,
    headless: true,
    viewport: { width: 1100, height: 760 },
    // The browser looks for updates and the like otherwise, and waits for them.
    args: ['--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    ...options,
  })
  const close = async () => {
    await context.close()
    await rm(dir, { recursive: true, force: true, maxRetries: 5 })
  }
  return { context, close }
}
