/** Formulas for markdown-it: $…$ and \(…\) in a line, $$…$$ and \[…\] apart. */
import type { MarkdownIt, StateBlock, StateInline } from 'markdown-it'

const PAIRS = [
  ['$$', '$$', true],
  ['\\[', '\\]', true],
  ['\\(', '\\)', false],
  ['$', '$', false],
] as const

/** Where the closing mark is, or -1. "costs $5 and $6" is no formula: no space inside the dollars, no digit after. */
function closing(text: string, from: number, open: string, close: string): number {
  if (open !== '$') return text.indexOf(close, from)
  if (/\s/.test(text[from] ?? ' ')) return -1
  for (let at = text.indexOf('$', from); at >= 0; at = text.indexOf('$', at + 1)) {
    if (text[at - 1] === '\\') continue
    return /\s/.test(text[at - 1] ?? ' ') || /\d/.test(text[at + 1] ?? '') ? -1 : at
  }
  return -1
}

function inline(state: StateInline, silent: boolean): boolean {
  for (const [open, close, display] of PAIRS) {
    if (!state.src.startsWith(open, state.pos)) continue
    const start = state.pos + open.length
    const end = closing(state.src, start, open, close)
    if (end <= start || end > state.posMax) continue
    if (!silent) {
      const token = state.push('math', '', 0)
      token.content = state.src.slice(start, end)
      token.meta = { display }
    }
    state.pos = end + close.length
    return true
  }
  return false
}

function block(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
  const lineOf = (line: number) => state.src.slice((state.bMarks[line] ?? 0) + (state.tShift[line] ?? 0), state.eMarks[line])
  const first = lineOf(startLine)
  const pair = PAIRS.find(([open, , display]) => display && first.startsWith(open))
  if (!pair || (state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false
  const [open, close] = pair
  const lines = []
  for (let line = startLine; line < endLine; line++) {
    if (line > startLine && (state.sCount[line] ?? 0) < state.blkIndent && lineOf(line)) return false
    const text = line === startLine ? first.slice(open.length) : lineOf(line)
    const end = text.indexOf(close)
    if (end < 0) {
      lines.push(text)
      continue
    }
    if (text.slice(end + close.length).trim()) return false // goes on in the line: a paragraph with a formula in it
    if (silent) return true
    lines.push(text.slice(0, end))
    const token = state.push('math', '', 0)
    token.block = true
    token.content = lines.join('\n').trim()
    token.meta = { display: true }
    token.map = [startLine, line + 1]
    state.line = line + 1
    return true
  }
  return false
}

export function math(md: MarkdownIt, render: (tex: string, display: boolean) => string): void {
  md.inline.ruler.before('escape', 'math', inline)
  md.block.ruler.before('fence', 'math', block, { alt: ['paragraph', 'reference', 'blockquote', 'list'] })
  md.renderer.rules['math'] = (tokens, index) => {
    const token = tokens[index]
    return token ? render(token.content, (token.meta as { display: boolean }).display) : ''
  }
}
