// Deploys an app together with the Worker: `wrangler deploy` with the stanzas
// that wrangler.toml ships commented out.
//
//   node host/cloudflare/deploy.mjs --assets DIR [--images] [-- ARGUMENTS OF wrangler deploy]
//
// `--images` binds the bucket. `--write FILE` only writes the configuration,
// `--from FILE` has it made of another one than the repository's; so the tests
// run what is deployed.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { fail, here, installPackages, root, run } from './packages.mjs'

/** An id that wrangler.toml has before there is one. */
const NO_ID = /^(?:database_)?id = "[0-]+"/m

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    assets: { type: 'string' },
    images: { type: 'boolean', default: false },
    write: { type: 'string' },
    from: { type: 'string', default: join(root, 'wrangler.toml') },
  },
})
if (values.assets === undefined) fail('--assets is missing: the directory that the app was built into')

/** A stanza that is commented out, uncommented: up to the next line that is no comment. */
function withStanza(text, head) {
  const lines = text.split('\n')
  if (lines.includes(head)) return text
  const first = lines.indexOf(`# ${head}`)
  if (first < 0) fail(`${values.from} has no stanza ${head}`)
  const length = lines.slice(first).findIndex((line) => !line.startsWith('# '))
  const end = length < 0 ? lines.length : first + length
  for (let n = first; n < end; n++) lines[n] = lines[n].slice(2)
  return lines.join('\n')
}

/** The configuration, to lie in any directory: what it names by path is named in full. */
function configuration() {
  let text = readFileSync(values.from, 'utf8')
  text = withStanza(text, '[assets]')
  if (values.images) text = withStanza(text, '[[r2_buckets]]')
  const path = (name, value) => {
    const line = new RegExp(`^${name} = .*$`, 'm')
    if (!line.test(text)) fail(`${values.from} does not say ${name}`)
    text = text.replace(line, () => `${name} = ${JSON.stringify(value)}`)
  }
  path('directory', resolve(values.assets))
  const main = /^main = "(.*)"$/m.exec(text)?.[1]
  if (main === undefined) fail(`${values.from} does not say main`)
  path('main', resolve(dirname(values.from), main))
  // Of `wrangler dev` only.
  return text.replace(/^watch_dir = .*$/m, () => `cwd = ${JSON.stringify(root)}`)
}

/** What Cloudflare would refuse, or the Worker, in words that say what to do. */
function refuse(text) {
  for (const name of ['CLOUDFLARE_API_TOKEN', 'CLOUDFLARE_ACCOUNT_ID']) {
    if (!process.env[name] && process.env.CI) fail(`${name} is not set: it has to be a secret of the repository`)
  }
  if (NO_ID.test(text)) {
    fail('wrangler.toml has no ids yet: make the KV namespace and the D1 database (README, “First deployment”), and write their ids into it')
  }
  if (values.images && !/^R2_PUBLIC_URL = "./m.test(text)) {
    fail('R2_PUBLIC_URL is not set in wrangler.toml, and images are on: say where they are read, `https://<your Worker>/api/images`')
  }
}

if (!existsSync(join(values.assets, 'index.html'))) fail(`${values.assets} has no index.html: build the app first`)
const text = configuration()
if (values.write === undefined && !positionals.includes('--dry-run')) refuse(text)
const file = values.write ?? join(root, 'target/deployment/wrangler.toml')
mkdirSync(dirname(file), { recursive: true })
writeFileSync(file, text)
if (values.write === undefined) {
  installPackages()
  run(process.execPath, [join(here, 'node_modules/wrangler/bin/wrangler.js'), 'deploy', '--config', file, ...positionals], root)
}
