/** Languages by their own names: what a model is told, and what is shown. */
export const LANGUAGES = ['中文', 'English', '日本語', '한국어', 'Français', 'Deutsch', 'Español', 'Русский', 'العربية', 'Português', 'Italiano', 'Tiếng Việt']

type Translate = (key: string, named?: Record<string, unknown>) => string

/** What a model of the catalogue speaks ("zh, en", "zh, en and 27 more", "en, mostly", "zh, en, code"), in the reader's words. */
export function spokenText(said: string, locale: string, t: Translate): string {
  const [, codes = said, more] = /^(.*?) and (\d+) more$/.exec(said) ?? []
  const names = new Intl.DisplayNames(locale, { type: 'language' })
  const parts = codes.split(', ')
  const list = new Intl.ListFormat(locale, { type: 'conjunction', style: 'narrow' }).format(
    parts.filter((part) => part !== 'mostly').map((part) => (part === 'code' ? t('models.languages.code') : /^[a-z]{2,3}$/.test(part) ? (names.of(part) ?? part) : part)),
  )
  if (more) return t('models.languages.more', { list, n: more })
  return parts.includes('mostly') ? t('models.languages.mostly', { list }) : list
}
