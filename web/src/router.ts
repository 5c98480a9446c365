import { createRouter, createWebHistory } from 'vue-router'
import ChatView from './views/ChatView.vue'

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/', name: 'new', component: ChatView },
    { path: '/chat/:id', name: 'chat', component: ChatView },
    { path: '/history', name: 'history', component: () => import('./views/HistoryView.vue') },
    { path: '/tasks/:id?', name: 'tasks', component: () => import('./views/TasksView.vue') },
    { path: '/models', name: 'models', component: () => import('./views/ModelsView.vue') },
    { path: '/compare/:id?', name: 'compare', component: () => import('./views/CompareView.vue') },
    { path: '/server', name: 'server', component: () => import('./views/ServerView.vue') },
    { path: '/settings', name: 'settings', component: () => import('./views/SettingsView.vue') },
    { path: '/:rest(.*)*', name: 'nowhere', component: () => import('./views/NowhereView.vue') },
  ],
})
