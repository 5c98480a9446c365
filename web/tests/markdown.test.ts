import { describe, expect, it } from 'vitest'
import { BlockRenderer } from '../src/markdown/blocks'
import { md } from '../src/markdown/render'

const SAMPLE = `# 标题

A paragraph with **bold**, \`code\` and a [link](https://example.org).
It goes on.

- one
- two

  still two
  1. nested

> quoted
> more

\`\`\`python
def f(x):

    return x
\`\`\`

| a | b |
|---|---|
| 1 | 舢板 |

Text before \\(x^2\\) after.

$$
\\int_0^1 x\\,dx
$$

Setext
======

~~~
open to the end
`

const html = (blocks: { html: string }[]) => blocks.map((block) => block.html).join('')
const whole = (text: string) => html(new BlockRenderer().update(text, false))

describe('blocks', () => {
  it('give the same as the whole text at once', () => {
    expect(whole(SAMPLE)).toBe(md.render(SAMPLE))
  })
  it('are each the same alone, whatever stands around it', () => {
    const loose = '- a\n\n- b\n\n\n1. c\n2. d\n\n    code\n\ntext\n    lazy\n***\n> a\nb\n\n| a |\n|---|\n| [x] |\n\n[x]: https://example.org\n\n\ttab\n\n$$\ny\n$$\n'
    for (const text of [SAMPLE, loose, SAMPLE + loose, loose.repeat(3)]) expect(whole(text)).toBe(md.render(text))
  })
  it('have lines that end in any way', () => {
    expect(whole(SAMPLE.replaceAll('\n', '\r\n'))).toBe(md.render(SAMPLE))
    expect(whole(SAMPLE.replaceAll('\n', '\r'))).toBe(md.render(SAMPLE))
  })
  it('end the same however the text came', () => {
    for (const step of [1, 2, 3, 7, 50]) {
      const renderer = new BlockRenderer()
      for (let at = 0; at < SAMPLE.length; at += step) renderer.update(SAMPLE.slice(0, at), true)
      expect(html(renderer.update(SAMPLE, false))).toBe(whole(SAMPLE))
    }
  })
  it('leave finished blocks alone', () => {
    const renderer = new BlockRenderer()
    const before = renderer.update('one\n\ntwo\n\nthr', true)
    const after = renderer.update('one\n\ntwo\n\nthree\n\nfour', true)
    expect(after[0]).toBe(before[0])
    expect(after[1]).toBe(before[1])
    expect(after.length).toBe(4)
  })
  it('show an open code block as its text, and as HTML when it is closed', () => {
    const renderer = new BlockRenderer()
    expect(renderer.update('```js\nlet a = "<b>"\n', true).at(-1)?.code).toEqual({ language: 'js', text: 'let a = "<b>"\n' })
    const closed = renderer.update('```js\nlet a = "<b>"\n```', true).at(-1)
    expect(closed?.code).toBeUndefined()
    expect(closed?.html).toContain('&lt;b&gt;')
    expect(renderer.update('````\n```\n', true).length).toBe(1)
  })
  it('begin anew when the text was changed above', () => {
    const renderer = new BlockRenderer()
    renderer.update('one\n\ntwo\n\nthree', false)
    expect(html(renderer.update('ONE\n\ntwo', false))).toBe(whole('ONE\n\ntwo'))
  })
  it('find links whose address comes in another block', () => {
    expect(whole('[a]: https://example.org\n\ntext\n\nsee [a]')).toContain('href="https://example.org"')
  })
  it('are none for no text', () => {
    expect(new BlockRenderer().update('', true)).toEqual([])
    expect(new BlockRenderer().update('\n \n', true)).toEqual([])
  })
})

describe('formulas', () => {
  const isFormula = (text: string) => /<code>|katex/.test(whole(text)) // their source, until KaTeX has come
  it('lie between dollars without space inside', () => {
    expect(isFormula('so $x+y$ is')).toBe(true)
    expect(isFormula('it costs $5 and $6')).toBe(false)
    expect(isFormula('from $5 to $10.')).toBe(false)
    expect(isFormula('a \\$x\\$ b')).toBe(false)
  })
  it('lie between TeX brackets', () => {
    expect(isFormula('\\(x\\)')).toBe(true)
    expect(whole('\\[\nx\n\\]')).toContain('class="formula"')
    expect(whole('1. item\n\n   $$\n   x\n   $$\n')).toContain('class="formula"')
  })
  it('may be left open', () => {
    expect(whole('$$\nx + ')).toContain('$$')
    expect(isFormula('\\(x')).toBe(false)
  })
})

describe('pictures', () => {
  it('from elsewhere are links', () => {
    expect(whole('![secret](https://example.org/?q=1)')).not.toContain('<img')
    expect(whole('![secret](https://example.org/?q=1)')).toContain('>secret</a>')
  })
  it('in the text itself are shown', () => {
    expect(whole('![dot](data:image/png;base64,AAAA)')).toContain('<img src="data:image/png')
  })
})
