/** Text that was typed outlives its form and, unless it is very long, a reload. */
import { type Ref, ref, watch } from 'vue'
import { load, save } from './storage'

const LONGEST = 200_000 // characters: storage has 5 MB for all of them
const WAIT = 300 // ms
const texts = new Map<string, Ref<string>>()

export function keptText(key: string): Ref<string> {
  const known = texts.get(key)
  if (known) return known
  const text = ref(load<string>(key, ''))
  let timer: ReturnType<typeof setTimeout>
  watch(text, (now) => {
    clearTimeout(timer)
    timer = setTimeout(() => save(key, now && now.length <= LONGEST ? now : undefined), WAIT)
  })
  texts.set(key, text)
  return text
}
