// What the scripts of this folder share: programs that they run, and the npm
// packages that these come from.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** This folder. */
export const here = dirname(fileURLToPath(import.meta.url))

/** The repository. */
export const root = join(here, '../..')

/** Ends the script, with what is wrong. */
export function fail(message) {
  console.error(`syncline: ${message}`)
  process.exit(1)
}

/** Runs a program that writes to the same terminal; ends the script where it fails. */
export function run(command, args, cwd) {
  const { error, status } = spawnSync(command, args, { cwd, stdio: 'inherit' })
  if (error) fail(`${command} cannot be started (${error.code}): is it installed?`)
  if (status !== 0) fail(`${command} ${args.join(' ')} failed`)
}

/** Installs this folder's packages, unless what is there is what the lock file says. */
export function installPackages() {
  const lock = readFileSync(join(here, 'package-lock.json'), 'utf8')
  const stamp = join(here, 'node_modules/.syncline-installed')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return
  run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund'], here)
  writeFileSync(stamp, lock)
}
