import { defineStore } from 'pinia'
import { reactive, watch } from 'vue'
import type { SendKey } from '../lib/keys'
import { load, save } from '../lib/storage'
import type { Params } from '../api/types'

export interface Preset {
  name: string
  system: string
  params: Params
}

export interface Settings {
  language: 'auto' | 'en' | 'zh'
  theme: 'system' | 'light' | 'dark'
  sendKey: SendKey
  sidebar: boolean
  panel: boolean
  presets: Preset[]
}

const DEFAULTS: Settings = { language: 'auto', theme: 'system', sendKey: 'enter', sidebar: true, panel: false, presets: [] }

/** The browser's choice where the person made none. */
export function languageFor(setting: Settings['language'], browser: readonly string[]): 'en' | 'zh' {
  if (setting !== 'auto') return setting
  return browser[0]?.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

/** What this browser keeps: nothing here is secret, and nothing of it is needed elsewhere. */
export const useSettings = defineStore('settings', () => {
  const settings = reactive<Settings>({ ...DEFAULTS, ...load<Partial<Settings>>('sampan.settings', {}) })
  watch(settings, () => save('sampan.settings', settings))
  watch(
    () => settings.theme,
    (theme) => {
      if (theme === 'system') delete document.documentElement.dataset['theme']
      else document.documentElement.dataset['theme'] = theme
    },
    { immediate: true },
  )
  // Another tab's change is this one's too.
  if (typeof addEventListener === 'function')
    addEventListener('storage', (event) => {
      if (event.key === 'sampan.settings') Object.assign(settings, load<Partial<Settings>>('sampan.settings', {}))
    })
  return { settings }
})
