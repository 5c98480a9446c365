import { createRouter, createWebHistory } from 'vue-router'
import { root } from './lib/root'
import ChatView from './views/ChatView.vue'

export const router = createRouter({
  history: createWebHistory(root),
  routes: [
    { path: '/', name: 'new', component: ChatView },
    { path: '/chat/:id', name: 'chat', component: ChatView },
    { path: '/history', name: 'history', component: () => import('./views/HistoryView.vue') },
    { path: '/tasks/:id?', name: 'tasks', component: () => import('./views/TasksView.vue') },
    { path: '/models', name: 'models', component: () => import('./views/ModelsView.vue') },
    { path: '/compare/:id?', name: 'compare', component: () => import('./views/CompareView.vue') },
    { path: '/server', name: 'server', component: () => import('./views/ServerView.vue') },
    { path: '/settings', name: 'settings', component: () => import('./views/SettingsView.vue') },
    { path: '/keys', name: 'keys', component: () => import('./views/KeysView.vue') },
    { path: '/developers', name: 'developers', component: () => import('./views/DevelopersView.vue') },
    { path: '/sign-in', redirect: '/' }, // App shows the form when somebody has to sign in
    { path: '/sign-up', redirect: '/' },
    { path: '/:rest(.*)*', name: 'nowhere', component: () => import('./views/NowhereView.vue') },
  ],
})
