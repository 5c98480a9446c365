import { defineStore } from 'pinia'
import { computed, shallowRef } from 'vue'
import { api, insist, onUnauthorized } from '../api/client'
import type { Session } from '../api/types'
import { forget } from '../lib/storage'

/** Who is signed in, and whether somebody has to be. */
export const useAccount = defineStore('account', () => {
  const session = shallowRef<Session | null>(null)
  const account = computed(() => session.value?.account ?? null)
  /** The page is not for whoever looks at it: they sign in first, or make the first account. */
  const gate = computed(() => {
    const state = session.value?.state
    return state === 'sign_in' || state === 'sign_up' ? state : null
  })
  const open = computed(() => session.value !== null && gate.value === null)

  async function load(): Promise<void> {
    try {
      session.value = await api.session()
    } catch {
      // Not reachable: the connection's own note says so, and what is known stays.
    }
  }
  onUnauthorized(() => void load())

  async function signIn(name: string, password: string): Promise<void> {
    session.value = await insist(() => api.signIn(name, password), [1000, 1000, 1000])
  }
  async function signUp(code: string, name: string, password: string): Promise<void> {
    session.value = await insist(() => api.signUp(code, name, password), [1000, 1000, 1000])
  }
  /** Also what this browser keeps of what was written goes: the next who sits here may be somebody else. */
  async function signOut(everywhere: boolean): Promise<void> {
    await api.signOut(everywhere)
    forget()
  }
  async function changePassword(password: string, other: string): Promise<void> {
    session.value = await api.changePassword(password, other)
  }

  return { session, account, gate, open, load, signIn, signUp, signOut, changePassword }
})
