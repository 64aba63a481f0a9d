// LiveStore's packages of one commit of its main branch, which npm does not
// have, out of a git directory: see README.md.
//
//     LIVESTORE_GIT=DIR node prepare.mjs [FOLDER]
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'

/** What the transcripts were recorded from, and what clients are built from. */
export const COMMIT = '282e88a32236aa9f4d91d8cedd0eb563deb2bff6'
const EFFECT = '4.0.0-beta.99'
const PACKAGES = [
  'adapter-cloudflare',
  'adapter-web',
  'common',
  'common-cf',
  'livestore',
  'sqlite-wasm',
  'sync-cf',
  'utils',
  'utils-dev',
  'wa-sqlite',
  'webmesh',
]

const here = import.meta.dirname
const folder = resolve(process.argv[2] ?? join(here, 'build'))
const git = process.env.LIVESTORE_GIT
if (!git) throw new Error('LIVESTORE_GIT has to name a git directory of livestorejs/livestore')

/** Takes the packages out of git; npm knows no `workspace:`, and nothing is needed that is for development. */
const unpack = () => {
  const paths = PACKAGES.map((name) => `packages/@livestore/${name}`)
  const archive = execFileSync('git', [`--git-dir=${resolve(git)}`, 'archive', COMMIT, ...paths], { maxBuffer: 1 << 30 })
  const tar = spawnSync('tar', ['x', '-C', folder], { input: archive })
  if (tar.status !== 0) throw new Error(`tar: ${tar.stderr}`)
  for (const name of PACKAGES) {
    const file = join(folder, 'packages/@livestore', name, 'package.json')
    const { devDependencies, peerDependencies, scripts, ...kept } = JSON.parse(readFileSync(file, 'utf8'))
    const dependencies = Object.entries(kept.dependencies ?? {}).map(([key, version]) => [
      key,
      version.startsWith('workspace:') ? '*' : version,
    ])
    writeFileSync(file, JSON.stringify({ ...kept, dependencies: Object.fromEntries(dependencies) }, null, 2))
  }
}

const install = () => {
  const effects = ['opentelemetry', 'platform-browser', 'platform-bun', 'platform-node', 'platform-node-shared', 'vitest']
  const dependencies = {
    effect: EFFECT,
    ...Object.fromEntries(effects.map((name) => [`@effect/${name}`, EFFECT])),
    '@cloudflare/workers-types': '4.20251118.0',
    '@opentelemetry/api': '1.9.0',
    '@opentelemetry/resources': '2.2.0',
    '@opentelemetry/sdk-metrics': '2.2.0',
    '@opentelemetry/sdk-trace-base': '2.2.0',
    '@opentelemetry/sdk-trace-node': '2.2.0',
    '@standard-schema/spec': '1.1.0',
    esbuild: '0.27.3',
    ioredis: '5.8.2',
    msgpackr: '1.11.9',
    undici: '7.16.0',
    vitest: '4.1.9',
    wrangler: '4.86.0',
    ws: '8.18.3',
  }
  const root = {
    name: 'livestore-next',
    private: true,
    type: 'module',
    workspaces: ['packages/@livestore/*'],
    dependencies,
    // As in ../livestore-0.4.0/package.json.
    overrides: { 'msgpackr-extract': '3.0.3', workerd: '1.20261117.1' },
  }
  writeFileSync(join(folder, 'package.json'), JSON.stringify(root, null, 2))
  const arguments_ = ['install', '--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund', '--no-package-lock']
  const npm = spawnSync('npm', arguments_, { cwd: folder, stdio: ['ignore', 2, 2] })
  if (npm.status !== 0) throw new Error('npm install failed')
  // This undici needs Node 22; the one above serves as well.
  rmSync(join(folder, 'node_modules/@effect/platform-node/node_modules/undici'), { recursive: true, force: true })
}

/** LiveStore's packages are TypeScript: what Node is to run is bundled. */
const bundle = async () => {
  const { build } = createRequire(join(folder, 'package.json'))('esbuild')
  await build({
    entryPoints: ['client.mjs', 'decodes.mjs'].map((name) => join(here, name)),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    alias: { '@livestore/sync-cf/src': join(folder, 'packages/@livestore/sync-cf/src') },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    nodePaths: [join(folder, 'node_modules')],
    banner: { js: "import { createRequire as __require } from 'node:module'; const require = __require(import.meta.url);" },
    external: ['ws', 'undici', 'msgpackr'],
    logLevel: 'warning',
  })
  // Where it looks for it once bundled.
  cpSync(join(folder, 'packages/@livestore/wa-sqlite/dist/wa-sqlite.node.wasm'), join(folder, 'wa-sqlite.node.wasm'))
}

/** What is to be run where the packages are: workers, which wrangler bundles, and the recorders. */
const place = () => {
  const workers = join(folder, 'workers')
  cpSync(join(here, 'workers'), workers, { recursive: true })
  for (const name of ['client.js', 'schema.js', 'wire.js', 'wrangler.client.toml', 'wrangler.original.toml', 'wrangler.syncline.toml']) {
    cpSync(join(here, '../do-rpc', name), join(workers, name))
  }
  for (const name of ['record.mjs', 'record-raw.mjs', 'scripted.mjs', 'tap.mjs']) cpSync(join(here, name), join(folder, name))
  cpSync(join(here, '../do-rpc/record.mjs'), join(folder, 'record-do-rpc.mjs'))
}

mkdirSync(folder, { recursive: true })
const stamp = join(folder, 'commit')
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== COMMIT) {
  unpack()
  install()
  writeFileSync(stamp, COMMIT)
}
place()
await bundle()
