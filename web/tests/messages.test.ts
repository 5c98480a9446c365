/** Long answers and long chats are made a little at a time, their ends first. */
import { createPinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type App, createApp, h, nextTick, shallowReactive } from 'vue'
import MarkdownText from '../src/components/MarkdownText.vue'
import MessageList from '../src/components/MessageList.vue'
import { i18n } from '../src/i18n'
import { newId } from '../src/lib/id'
import { Tree } from '../src/lib/tree'
import type { LiveMessage } from '../src/stores/conversations'

const apps: App[] = []

function show(component: object, props: object): HTMLElement {
  const root = document.createElement('div')
  document.body.replaceChildren(root)
  const app = createApp({ render: () => h(component, { ...props }) })
  apps.push(app)
  app.use(createPinia()).use(i18n).mount(root)
  return root
}

beforeEach(() =>
  vi.stubGlobal(
    'ResizeObserver',
    class {
      observe() {}
      disconnect() {}
    },
  ),
)
afterEach(() => {
  for (const app of apps.splice(0)) app.unmount()
  vi.unstubAllGlobals()
})

describe('an answer', () => {
  const part = (n: number) => `paragraph ${n}`
  const texts = (root: HTMLElement) => [...root.querySelectorAll('.block')].map((block) => block.textContent?.trim())

  it('is whole in the end, its last blocks first', async () => {
    const all = Array.from({ length: 100 }, (_, n) => part(n))
    const root = show(MarkdownText, { text: all.join('\n\n'), growing: false })
    expect(texts(root).length).toBeLessThan(all.length)
    expect(root.querySelectorAll('.block').length).toBeGreaterThan(0)
    await vi.waitUntil(() => texts(root).filter(Boolean).length === all.length, 10_000)
    expect(texts(root)).toEqual(all)
  })
  it('grows at its end while its beginning is made', async () => {
    const all = Array.from({ length: 60 }, (_, n) => part(n))
    const props = shallowReactive({ text: all.join('\n\n'), growing: true })
    const root = show(MarkdownText, props)
    for (let n = all.length; n < 80; n++) {
      all.push(part(n))
      props.text = all.join('\n\n')
      await nextTick()
    }
    props.growing = false
    await vi.waitUntil(() => texts(root).filter(Boolean).length === all.length, 10_000)
    expect(texts(root)).toEqual(all)
  })
  it('follows a change of what its links refer to', async () => {
    const props = shallowReactive({ text: 'see [a]\n\nwords\n\n[a]: https://example.org/1', growing: false })
    const root = show(MarkdownText, props)
    const to = (address: string) => vi.waitUntil(() => root.querySelector('a')?.href === address, 10_000)
    await to('https://example.org/1')
    props.text = 'see [a]\n\nWords\n\n[a]: https://example.org/2'
    await to('https://example.org/2')
  })
  it('is marked when highlighting has come, and only where it was missing', async () => {
    const root = show(MarkdownText, { text: 'words\n\n```js\nlet a = 1\n```\n\nand $x^2$', growing: false })
    await vi.waitUntil(() => root.textContent?.includes('and'))
    const words = root.querySelector('.block > p')
    await vi.waitUntil(() => root.querySelector('.hljs-keyword') && root.querySelector('.katex'), 10_000)
    expect(root.querySelector('.block > p')).toBe(words)
    expect(root.querySelector('button[data-copy]')?.textContent).toBe('Copy')
  })
})

describe('a chat', () => {
  function chat(count: number) {
    const tree = new Tree<LiveMessage>()
    const messages: LiveMessage[] = []
    const add = () => {
      const at = messages.length
      const message: LiveMessage = {
        id: newId('m_'), chat: 'c_1', parent: messages.at(-1)?.id ?? null, role: at % 2 ? 'assistant' : 'user', content: `message ${at}`, reasoning: '',
        state: 'complete', error: null, model: null, finish_reason: null, usage: null, timings: null, created: at,
      }
      tree.put(message)
      messages.push(message)
      return [...messages]
    }
    while (messages.length < count) add()
    return { props: shallowReactive({ messages: [...messages], tree, shape: 1, loading: false }), add }
  }
  const said = (root: HTMLElement) => [...root.querySelectorAll('article :is(.said, .block)')].map((at) => Number(at.textContent?.match(/\d+/)))
  const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n)
  const become = (root: HTMLElement, wanted: number[]) => vi.waitUntil(() => String(said(root)) === String(wanted), 10_000)

  it('shows its last messages at once, the rest soon, and earlier ones when asked', async () => {
    const root = show(MessageList, chat(100).props)
    expect(root.querySelectorAll('article').length).toBeLessThan(40)
    expect(root.querySelector('.earlier')).toBeNull()
    await become(root, numbers(60, 100))
    const button = root.querySelector<HTMLButtonElement>('.earlier')
    button?.click()
    await become(root, numbers(20, 100))
  })
  it('keeps what is shown when more is said', async () => {
    const { props, add } = chat(2)
    const root = show(MessageList, props)
    expect(root.querySelectorAll('article').length).toBe(2)
    for (let n = 2; n < 10; n++) {
      await become(root, numbers(0, n))
      props.messages = add()
    }
    await become(root, numbers(0, 10))
  })
})
