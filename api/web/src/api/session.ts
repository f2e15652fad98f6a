// Who is signed in. The token lives in sessionStorage, or in localStorage if the person asked to stay signed in.

import type { Session } from './types';

const KEY = 'forewarn.session';
let current: Session | null = read();
const watchers = new Set<() => void>();

function read(): Session | null {
  try {
    const text = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
    if (!text) return null;
    const session = JSON.parse(text) as Session;
    return typeof session.token === 'string' && new Date(session.expires_at).getTime() > Date.now() ? session : null;
  } catch {
    return null;
  }
}

export function session(): Session | null {
  return current;
}

export function setSession(next: Session | null, stay?: boolean): void {
  current = next;
  try {
    const kept = stay ?? localStorage.getItem(KEY) !== null;
    sessionStorage.removeItem(KEY);
    localStorage.removeItem(KEY);
    if (next) (kept ? localStorage : sessionStorage).setItem(KEY, JSON.stringify(next));
  } catch {
    // Storage blocked: signed in until the page is closed.
  }
  for (const watcher of watchers) watcher();
}

export function onSession(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

/** Whether the role may do this. The server decides; this only keeps buttons from promising what it would refuse. */
export function may(permission: string): boolean {
  const held = current?.permissions;
  if (!held) return false;
  return held.includes(permission) || held.includes('*');
}
