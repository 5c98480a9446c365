import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'

const server = process.env.SAMPAN_URL ?? 'http://127.0.0.1:8080'
const theirs = ['/api', '/v1', '/docs', '/openapi.json', '/tokenize']

/** KaTeX names three formats of each font; every browser that the page runs in reads woff2. */
function woff2Only() {
  return {
    name: 'woff2-only',
    enforce: 'pre' as const,
    transform(code: string, id: string) {
      if (!id.includes('katex') || !id.includes('.css')) return null
      return code.replace(/,\s*url\([^)]*\.(woff|ttf)\)\s*format\(["'](woff|truetype)["']\)/g, '')
    },
  }
}

/** Scripts and styles find each other from where they are, under any path; the index, which answers at every address of
 *  the page, names them from the root, which the server knows. */
function indexFromRoot() {
  return {
    name: 'index-from-root',
    enforce: 'post' as const,
    generateBundle(_: unknown, bundle: Record<string, { type: string; source?: string | Uint8Array }>) {
      const index = bundle['index.html']
      if (index?.type === 'asset') index.source = String(index.source).replaceAll('="./', '="/')
    },
  }
}

export default defineConfig({
  base: process.env.NODE_ENV === 'development' ? '/' : './',
  plugins: [vue(), woff2Only(), indexFromRoot()],
  define: {
    __VUE_OPTIONS_API__: true, // Element Plus and vue-i18n mix styles of components
    __VUE_PROD_DEVTOOLS__: false,
    __VUE_I18N_LEGACY_API__: false,
    __VUE_I18N_FULL_INSTALL__: false,
    __INTLIFY_PROD_DEVTOOLS__: false,
  },
  build: {
    outDir: '../build/web/dist',
    manifest: true, // for sizes.mjs
    emptyOutDir: true,
    assetsInlineLimit: 0, // data: fonts and scripts are nothing for the page's policy
    modulePreload: { polyfill: false },
    target: ['chrome123', 'firefox121', 'safari17.5'],
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000, // sizes.mjs judges, by what goes over the line
  },
  worker: { format: 'es' },
  server: {
    port: 5173,
    strictPort: true,
    // The server checks where writes come from: for it they come from itself.
    proxy: Object.fromEntries(
      theirs.map((path) => [
        path,
        {
          target: server,
          changeOrigin: true,
          configure: (proxy: { on(event: 'proxyReq', f: (request: { setHeader(name: string, value: string): void }) => void): void }) =>
            proxy.on('proxyReq', (request) => request.setHeader('origin', server)),
        },
      ]),
    ),
  },
  test: { environment: 'jsdom', include: ['tests/**/*.test.ts'], restoreMocks: true, testTimeout: 60_000 },
})
