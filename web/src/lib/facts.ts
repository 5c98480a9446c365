/** What is to be said of an answer in figures: its speed, its first token, its tokens; while it grows those of now. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import type { LiveMessage } from '../stores/conversations'

export function useFacts(message: () => LiveMessage | undefined) {
  const { t, n } = useI18n()

  const facts = computed(() => {
    const { usage, timings, pace, tokens, ttft } = message() ?? {}
    const speed = timings?.tokens_per_second ?? pace
    const first = timings?.ttft_ms ?? ttft
    const all = usage?.completion_tokens ?? tokens
    const found: string[] = []
    if (speed) found.push(t('message.speed', { n: n(speed, { maximumFractionDigits: 1 }) }))
    if (first) found.push(t('message.ttft', { n: n(first / 1000, { maximumFractionDigits: 2 }) }))
    if (all) found.push(t('message.tokens', { n: n(all) }))
    return found.join(' · ')
  })
  return { facts }
}
