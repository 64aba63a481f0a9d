// Builds all that wrangler bundles, from a fresh clone: wrangler.toml's
// [build] command. It needs Rust and Node, and installs everything else.
//
//   guest (cargo, wasm32-wasip2) → jco, twice → generated/ → type check
//
// With `--typecheck` it ends there, and does not look at the bundle's size.
//
// The component is transpiled twice, into the same core modules with another
// glue: once for storage that answers at once (Durable Object SQLite), once
// with JSPI for what has to wait (D1, KV). See ARCHITECTURE.md, D1.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { fail, here, installPackages, root, run } from './packages.mjs'

const generated = join(here, 'generated')

/** Workers' limit on an upload, gzipped (shared limits: stay below it). */
const BUNDLE_GZIP_BYTES_MAX = 3_000_000

/** The imports that may wait: storage on D1, KV, and other objects. */
const WAITING_IMPORTS = {
  'event-log': functionsOf('event-log'),
  claims: functionsOf('claims'),
  quotas: functionsOf('quotas'),
}

/** The exports that call them. */
const WAITING_EXPORTS = {
  room: functionsOf('room'),
  gateway: ['admit'],
  relay: functionsOf('relay'),
}

const TARGET = 'wasm32-wasip2'

/** All of an interface of the contract. */
function functionsOf(name) {
  const wit = readFileSync(join(root, 'wit', `${name}.wit`), 'utf8')
  return [...wit.matchAll(/^ {4}([a-z-]+): func\(/gm)].map(([, name]) => name)
}

function buildGuest() {
  const libdir = execFileSync('rustc', ['--print', 'target-libdir', '--target', TARGET], { cwd: root, encoding: 'utf8' })
  if (!existsSync(libdir.trim())) run('rustup', ['target', 'add', TARGET], root)
  // The same directory as the wasmtime host's build: one guest, built once.
  const target = join(root, 'target/guest')
  const args = ['build', '--package', 'syncline-guest', '--lib', '--locked']
  run('cargo', [...args, '--target', TARGET, '--profile', 'guest', '--target-dir', target], root)
  return join(target, TARGET, 'guest/syncline_guest.wasm')
}

function names(functions) {
  return Object.entries(functions).flatMap(([name, members]) =>
    members.map((member) => `syncline:backend/${name}@0.1.0#${member}`),
  )
}

async function transpileInto(component, folder, options) {
  const { transpile } = await import('@bytecodealliance/jco-transpile')
  const { files } = await transpile(component, {
    name: 'guest',
    instantiation: 'sync',
    outDir: join(generated, folder),
    nodejsCompat: false,
    validLiftingOptimization: true,
    ...options,
  })
  return files
}

/** Transpiles, unless what is there was made of the same. */
async function generate(component) {
  const stamp = join(generated, '.made-of')
  const hash = createHash('sha256')
  for (const file of [component, fileURLToPath(import.meta.url), join(here, 'package-lock.json')]) {
    hash.update(readFileSync(file))
  }
  const madeOf = hash.digest('hex')
  // Bundlers that watch these files, of other `wrangler dev`, do not wake.
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === madeOf) return
  rmSync(generated, { recursive: true, force: true })
  const plain = await transpileInto(component, 'plain', {})
  const waiting = await transpileInto(component, 'waiting', {
    asyncMode: 'jspi',
    asyncImports: names(WAITING_IMPORTS),
    asyncExports: names(WAITING_EXPORTS),
  })
  const cores = []
  for (const [file, bytes] of Object.entries({ ...plain, ...waiting })) {
    if (file.endsWith('.js')) {
      write(file, await withoutDebugging(Buffer.from(bytes).toString()))
      continue
    }
    if (!file.endsWith('.wasm')) {
      write(file, bytes)
      continue
    }
    // Both glues drive the same modules: they are bundled once.
    const name = file.slice(file.lastIndexOf('/') + 1)
    const other = plain[join(generated, 'plain', name)]
    if (!other || Buffer.compare(Buffer.from(other), Buffer.from(bytes)) !== 0) {
      fail(`jco's two transpiles differ in ${name}: they have to share their core modules`)
    }
    if (cores.includes(name)) continue
    cores.push(name)
    write(join(generated, name), bytes)
  }
  const imports = cores.map((name, index) => `import core${index} from './${name}'`)
  const entries = cores.map((name, index) => `  '${name}': core${index},`)
  write(
    join(generated, 'cores.ts'),
    `${imports.join('\n')}\n\nexport const cores: Record<string, WebAssembly.Module> = {\n${entries.join('\n')}\n}\n`,
  )
  write(stamp, madeOf)
}

/**
 * jco is pinned to the last of its kind: since 0.3 its glue keeps a task for
 * each call, for asynchronous components, and takes 2.5 times the time.
 *
 * jco's glue without its debugging: each call of the guest would build some
 * dozen messages for nobody, half of the glue's time (measured with
 * `node --cpu-prof`).
 */
async function withoutDebugging(code) {
  const { transform } = await import('esbuild')
  const definition = /const _debugLog = \(\.\.\.args\) => \{[^]*?console\.debug\(\.\.\.args\);\s*\};?/
  if (!definition.test(code)) fail("jco's glue has another debugging than is known here: look at build.mjs")
  // Undefined and pure, its calls are dropped with their arguments.
  const options = { pure: ['_debugLog'], minifySyntax: true, minifyWhitespace: true, target: 'es2024' }
  const lean = (await transform(code.replace(definition, ''), options)).code
  if (lean.includes('_debugLog')) fail("jco's glue uses its debugging in another way than is known here: look at build.mjs")
  return lean
}

function write(file, contents) {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, contents)
}

/** What wrangler will upload, as near as can be told without it. */
async function measure() {
  const { build } = await import('esbuild')
  const { outputFiles } = await build({
    entryPoints: [join(here, 'src/worker.ts')],
    bundle: true,
    format: 'esm',
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*'],
    loader: { '.wasm': 'copy' },
    outdir: join(generated, 'unused'),
    write: false,
  })
  let bytes = 0
  let gzipped = 0
  for (const { contents } of outputFiles) {
    bytes += contents.length
    gzipped += gzipSync(contents).length
  }
  const kib = (value) => `${Math.round(value / 1024)} KiB`
  console.log(`syncline: the bundle has ${kib(bytes)}, ${kib(gzipped)} gzipped (at most ${kib(BUNDLE_GZIP_BYTES_MAX)})`)
  if (gzipped > BUNDLE_GZIP_BYTES_MAX) fail('the bundle is too large for Workers')
}

installPackages()
await generate(buildGuest())
run(process.execPath, [join(here, 'node_modules/typescript/bin/tsc'), '--noEmit', '--project', here], here)
if (!process.argv.includes('--typecheck')) await measure()
