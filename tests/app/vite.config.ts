import { defineConfig } from 'vite'

/** Where `npm run dev` finds Syncline; the built app is served by Syncline itself. */
const syncline = process.env['SYNCLINE_URL'] ?? 'http://127.0.0.1:8787'

export default defineConfig({
  // LiveStore's worker is a module, and so is its shared worker.
  worker: { format: 'es' },
  // Bundled ahead of time, it would no longer find its .wasm beside it.
  optimizeDeps: { exclude: ['@livestore/wa-sqlite'] },
  esbuild: { jsx: 'automatic' },
  // LiveStore and React are most of it, and each is loaded once.
  build: { target: 'es2022', chunkSizeWarningLimit: 2_000 },
  server: {
    proxy: {
      '/api/': syncline,
      // What syncs has `transport` in its query. Vite's own socket has not.
      '^/\\?(.*&)?transport=': { target: syncline, ws: true },
    },
  },
})
