import { defineStore } from 'pinia'
import { ref } from 'vue'

export interface Toast {
  id: number
  text: string
  kind: 'info' | 'error'
  action?: { label: string; run: () => void }
}

const STAYS = 8000 // ms: time to read, and to reach Undo
const MOST = 4

export const useToasts = defineStore('toasts', () => {
  const toasts = ref<Toast[]>([])
  let next = 0

  function close(id: number): void {
    toasts.value = toasts.value.filter((toast) => toast.id !== id)
  }
  function show(text: string, kind: Toast['kind'] = 'info', action?: Toast['action']): void {
    const id = next++
    toasts.value = [...toasts.value, { id, text, kind, ...(action ? { action } : {}) }].slice(-MOST)
    setTimeout(() => close(id), STAYS)
  }
  return { toasts, show, close }
})
