/** What can be done to a chat from any list, with its undo and its errors told. */
import { useI18n } from 'vue-i18n'
import { useRoute, useRouter } from 'vue-router'
import { useChats } from '../stores/chats'
import { useToasts } from '../stores/toasts'
import { api, type ChatFields } from '../api/client'
import type { Chat } from '../api/types'
import { explain } from './errors'
import { fileName, saveFile } from './files'

export function useChatActions() {
  const { t } = useI18n()
  const chats = useChats()
  const toasts = useToasts()
  const router = useRouter()
  const route = useRoute()

  async function attempt(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work()
      return true
    } catch (error) {
      toasts.show(explain(error, t), 'error')
      return false
    }
  }

  const titleOf = (chat: Pick<Chat, 'title'>) => chat.title || t('list.untitled')
  const change = (id: string, fields: ChatFields) => attempt(() => chats.change(id, fields))

  async function removeAll(list: Chat[]): Promise<void> {
    const here = route.params['id']
    const gone: Chat[] = []
    for (const chat of list) {
      if (await attempt(() => chats.remove(chat.id))) gone.push(chat)
      else break
    }
    if (!gone.length) return
    if (gone.some((chat) => chat.id === here)) void router.push('/')
    const text = gone.length === 1 && gone[0] ? t('list.deleted', { title: titleOf(gone[0]) }) : t('history.deletedN', { n: gone.length }, gone.length)
    toasts.show(text, 'info', {
      label: t('undo'),
      run: () => void attempt(() => Promise.all(gone.map((chat) => chats.restore(chat.id)))),
    })
  }

  /** Of one chat or of all, as a file. */
  function exportChats(chat: Chat | null, format: 'jsonl' | 'md'): Promise<boolean> {
    return attempt(async () => saveFile(await api.exportChats(chat?.id ?? null, format), `${fileName(chat ? titleOf(chat) : 'sampan-chats')}.${format}`))
  }

  return { attempt, change, removeAll, titleOf, exportChats }
}
