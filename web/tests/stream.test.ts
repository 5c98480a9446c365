import { describe, expect, it } from 'vitest'
import { Assembly } from '../src/lib/stream'
import { dropBytes, utf8Length } from '../src/lib/utf8'

const TEXT = 'Sampan 舢板 🛶 é!'

describe('bytes of UTF-8', () => {
  it('counts as TextEncoder does', () => {
    for (const text of ['', 'a', 'é', '舢板', '🛶', TEXT, 'x🛶舢']) expect(utf8Length(text)).toBe(new TextEncoder().encode(text).length)
  })
  it('drops whole characters', () => {
    expect(dropBytes('舢板!', 3)).toBe('板!')
    expect(dropBytes('🛶a', 4)).toBe('a')
    expect(dropBytes('abc', 0)).toBe('abc')
    expect(dropBytes('abc', -2)).toBe('abc')
  })
})

/** The text in pieces of one to three characters, with their offsets. */
function pieces(text: string): { offset: number; text: string }[] {
  const found = []
  const characters = [...text]
  for (let i = 0, offset = 0; i < characters.length; ) {
    const piece = characters.slice(i, i + 1 + (i % 3)).join('')
    found.push({ offset, text: piece })
    offset += utf8Length(piece)
    i += 1 + (i % 3)
  }
  return found
}

describe('an answer put together', () => {
  it('takes pieces in order', () => {
    const it = new Assembly()
    for (const piece of pieces(TEXT)) it.add(piece.offset, piece.text)
    expect(it.text).toBe(TEXT)
    expect(it.hole).toBe(false)
  })
  it('takes every piece twice, as after a reconnect', () => {
    const it = new Assembly()
    for (const piece of [...pieces(TEXT), ...pieces(TEXT)]) it.add(piece.offset, piece.text)
    expect(it.text).toBe(TEXT)
  })
  it('cuts what a reload had read already, in the middle of a piece too', () => {
    for (let cut = 0; cut <= [...TEXT].length; cut++) {
      const it = new Assembly([...TEXT].slice(0, cut).join(''))
      it.add(0, TEXT)
      expect(it.text).toBe(TEXT)
    }
  })
  it('waits for a hole to be filled, and goes on from there', () => {
    const it = new Assembly('舢')
    it.add(utf8Length('舢板 '), '到')
    it.add(utf8Length('舢板 到'), '了')
    expect(it.text).toBe('舢')
    expect(it.hole).toBe(true)
    it.read('舢板 ')
    expect(it.text).toBe('舢板 到了')
    expect(it.hole).toBe(false)
  })
  it('is not set back by what was read earlier than its pieces', () => {
    const it = new Assembly('abc')
    it.add(3, 'def')
    it.read('abcd')
    expect(it.text).toBe('abcdef')
  })
  it('takes what the server has when that differs', () => {
    const it = new Assembly('abc')
    it.read('xy')
    expect(it.text).toBe('xy')
    it.add(2, 'z')
    expect(it.text).toBe('xyz')
  })
  it('takes waiting pieces in any order', () => {
    const all = pieces(TEXT)
    const it = new Assembly()
    for (const piece of all.slice(1).reverse()) it.add(piece.offset, piece.text)
    it.add(0, all[0]?.text ?? '')
    expect(it.text).toBe(TEXT)
  })
})
