/**
 * What the built page weighs, gzip'd, against its budget: what the chat needs before it can be used, and each lazy chunk.
 * Reads Vite's manifest: `node sizes.mjs [DIST]`; status 1 above a limit.
 */
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const FIRST_SCRIPT = 250_000
const FIRST_STYLE = 40_000
const LAZY = 170_000

const dist = process.argv[2] ?? new URL('../build/web/dist', import.meta.url).pathname
const manifest = JSON.parse(readFileSync(join(dist, '.vite/manifest.json'), 'utf8'))
const weigh = (file) => gzipSync(readFileSync(join(dist, file)), { level: 9 }).length

const entry = Object.keys(manifest).find((key) => manifest[key].isEntry)
const first = new Set()
function need(key) {
  if (first.has(key)) return
  first.add(key)
  for (const other of manifest[key].imports ?? []) need(other)
}
need(entry)

const kb = (bytes) => `${(bytes / 1000).toFixed(1).padStart(7)} KB`
let failed = false
function line(name, bytes, limit) {
  const over = limit !== undefined && bytes > limit
  failed ||= over
  const held = limit === undefined ? '' : ` of ${kb(limit).trim()}  ${over ? 'short' : 'pass'}`
  console.log(`${kb(bytes)}${held}  ${name}`)
}

const files = [...first].map((key) => manifest[key])
const script = ['theme.js', ...files.map((chunk) => chunk.file)].reduce((sum, file) => sum + weigh(file), 0)
const styles = new Set(files.flatMap((chunk) => chunk.css ?? []))
line('script before the chat is usable', script, FIRST_SCRIPT)
line('styles before the chat is usable', [...styles].reduce((sum, file) => sum + weigh(file), 0), FIRST_STYLE)
const assets = readdirSync(join(dist, 'assets')).map((name) => `assets/${name}`)
const early = new Set([...files.map((chunk) => chunk.file), ...styles])
for (const file of assets.filter((name) => name.endsWith('.js') && !early.has(name)).sort()) line(file, weigh(file), LAZY)
line('fonts', assets.filter((name) => name.endsWith('.woff2')).reduce((sum, file) => sum + statSync(join(dist, file)).size, 0))
line('all', assets.reduce((sum, file) => sum + weigh(file), 0))
process.exit(failed ? 1 : 0)
