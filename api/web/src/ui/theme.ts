// Light, dark, or as the system says; kept on this device.

import { useState } from 'preact/hooks';

export type Theme = 'auto' | 'light' | 'dark';
const KEY = 'forewarn.theme';

function stored(): Theme {
  const set = document.documentElement.dataset['theme'];
  return set === 'light' || set === 'dark' ? set : 'auto';
}

const watchers = new Set<() => void>();

export function applyTheme(theme: Theme): void {
  if (theme === 'auto') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = theme;
  try {
    if (theme === 'auto') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Holds until the page is closed.
  }
  for (const watcher of watchers) watcher();
}

export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, set] = useState(stored);
  return [theme, (next) => { applyTheme(next); set(next); }];
}

/** Calls back when the colours change, by the switch or by the system: canvases must be drawn anew. */
export function onColours(then: () => void): () => void {
  const media = matchMedia('(prefers-color-scheme: dark)');
  media.addEventListener('change', then);
  watchers.add(then);
  return () => {
    media.removeEventListener('change', then);
    watchers.delete(then);
  };
}
