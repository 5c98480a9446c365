import { beforeAll, describe, expect, it } from 'vitest'
import { BlockRenderer } from '../src/markdown/blocks'
import { formula, highlighted } from '../src/markdown/lazy'
import { clean } from '../src/markdown/sanitize'
import { PAYLOADS } from './payloads'

const FORBIDDEN = 'script,iframe,object,embed,form,input,style,link,meta,base,video,audio,source,template,animate,textarea,select'
const ADDRESSES = ['href', 'src', 'xlink:href', 'action', 'formaction', 'data', 'srcset', 'poster', 'ping']

function shown(html: string): HTMLElement {
  const element = document.createElement('div')
  element.append(clean(html))
  document.body.replaceChildren(element)
  return element
}

function findings(element: HTMLElement): string[] {
  const found = [...element.querySelectorAll(FORBIDDEN)].map((node) => node.outerHTML)
  for (const node of element.querySelectorAll('*')) {
    if (node.localName === 'a' && node.hasAttribute('href') && node.getAttribute('target') !== '_blank') found.push(`leads away: ${node.outerHTML}`)
    for (const { name, value } of node.attributes) {
      if (/^(on|v-|@|:)/.test(name) || name === 'id' || name === 'name') found.push(`${name} on ${node.outerHTML}`)
      if (ADDRESSES.includes(name) && !/^(https?:|mailto:|data:image\/(png|jpeg|gif|webp)[;,])/i.test(value)) found.push(`${name}=${value}`)
      if (name === 'src' && !value.startsWith('data:image/')) found.push(`fetches ${value}`)
      if (!['href', 'src', 'alt', 'title'].includes(name) && /\\|url\(|image-set/i.test(value)) found.push(`${name}=${value}`)
    }
  }
  return found
}

// Highlighting and formulas must be there: their HTML is what is to be cleaned.
beforeAll(async () => {
  highlighted('x', 'js')
  formula('x', false)
  await Promise.all([import('../src/markdown/highlight'), import('../src/markdown/formulas')])
  await new Promise((resolve) => setTimeout(resolve))
  expect(highlighted('let x', 'js')).toContain('hljs-keyword')
  expect(formula('x', false)).toContain('katex')
})

describe('hostile text', () => {
  it.each(PAYLOADS)('as an answer: %s', (payload) => {
    const html = new BlockRenderer().update(`before\n\n${payload}\n\nafter`, false).map((block) => block.html).join('')
    expect(findings(shown(html))).toEqual([])
  })
  it.each(PAYLOADS)('growing by the letter: %s', (payload) => {
    const renderer = new BlockRenderer()
    for (let at = 0; at <= payload.length; at++)
      for (const block of renderer.update(payload.slice(0, at), true)) if (!block.code) expect(findings(shown(block.html))).toEqual([])
  })
  it.each(PAYLOADS)('as HTML, if Markdown let it through: %s', (payload) => {
    expect(findings(shown(payload))).toEqual([])
  })
  it('runs nothing', () => {
    expect((window as { hacked?: number }).hacked).toBeUndefined()
  })
})

describe('what is let through', () => {
  const answer = (text: string) => shown(new BlockRenderer().update(text, false).map((block) => block.html).join(''))
  it('links, which open apart and tell nobody where they were', () => {
    const link = answer('[x](https://example.org)').querySelector('a')
    expect(link?.getAttribute('href')).toBe('https://example.org')
    expect(link?.getAttribute('target')).toBe('_blank')
    expect(link?.rel).toContain('noreferrer')
  })
  it('code with its button, tables, formulas and pictures in the text', () => {
    expect(answer('```js\nlet x\n```').querySelector('button[data-copy]')).not.toBeNull()
    expect(answer('```js\nlet x\n```').querySelector('.hljs-keyword')?.textContent).toBe('let')
    expect(answer('| a |\n|---|\n| b |').querySelectorAll('td').length).toBe(1)
    expect(answer('$\\sqrt{x}$').querySelector('svg path')).not.toBeNull()
    expect(answer('$x$').querySelector('math')).not.toBeNull()
    expect(answer('![x](data:image/png;base64,AAAA)').querySelector('img')?.getAttribute('src')).toContain('data:image/png')
  })
})
