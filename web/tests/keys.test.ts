import { describe, expect, it } from 'vitest'
import { composing, sends, shortcutOf } from '../src/lib/keys'

const key = (name: string, more: KeyboardEventInit & { keyCode?: number } = {}) => {
  const event = new KeyboardEvent('keydown', { key: name, ...more })
  if (more.keyCode) Object.defineProperty(event, 'keyCode', { value: more.keyCode })
  return event
}

describe('the key that sends', () => {
  it('is Enter alone', () => {
    expect(sends(key('Enter'), 'enter')).toBe(true)
    expect(sends(key('Enter', { shiftKey: true }), 'enter')).toBe(false)
    expect(sends(key('Enter', { ctrlKey: true }), 'enter')).toBe(false)
    expect(sends(key('a'), 'enter')).toBe(false)
  })
  it('or with Ctrl or ⌘', () => {
    expect(sends(key('Enter'), 'mod-enter')).toBe(false)
    expect(sends(key('Enter', { ctrlKey: true }), 'mod-enter')).toBe(true)
    expect(sends(key('Enter', { metaKey: true }), 'mod-enter')).toBe(true)
  })
  it('is left to the input method while it composes', () => {
    expect(sends(key('Enter', { isComposing: true }), 'enter')).toBe(false)
    expect(sends(key('Enter', { keyCode: 229 }), 'enter')).toBe(false)
    expect(sends(key('Enter', { isComposing: true, ctrlKey: true }), 'mod-enter')).toBe(false)
    expect(composing(key('Process', { keyCode: 229 }))).toBe(true)
  })
})

describe('shortcuts', () => {
  const inField = (event: KeyboardEvent) => {
    const field = document.createElement('textarea')
    document.body.append(field)
    field.dispatchEvent(event)
    return event
  }
  it('are told apart by their other keys', () => {
    expect(shortcutOf(key('k', { ctrlKey: true }))).toBe('search')
    expect(shortcutOf(key('k'))).toBeNull()
    expect(shortcutOf(key('O', { ctrlKey: true, shiftKey: true }))).toBe('newChat')
    expect(shortcutOf(key('o', { ctrlKey: true }))).toBeNull()
    expect(shortcutOf(key('?', { shiftKey: true }))).toBe('help')
    expect(shortcutOf(key('®', { altKey: true, code: 'KeyR' }))).toBe('regenerate')
  })
  it('of one letter are letters in a field', () => {
    expect(shortcutOf(inField(key('?', { shiftKey: true, bubbles: true })))).toBeNull()
    expect(shortcutOf(inField(key('/', { bubbles: true })))).toBeNull()
    expect(shortcutOf(inField(key('k', { ctrlKey: true, bubbles: true })))).toBe('search')
  })
  it('are not heard while an input method composes', () => {
    expect(shortcutOf(key('Escape', { isComposing: true }))).toBeNull()
  })
})
