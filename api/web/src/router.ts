// Routes by the history API. Links are ordinary <a href>: opening in a new tab, copying and middle clicks work.

import { useEffect, useState } from 'preact/hooks';

export interface Location { path: string; search: URLSearchParams }

const watchers = new Set<() => void>();

function read(): Location {
  return { path: location.pathname.replace(/\/+$/, '') || '/', search: new URLSearchParams(location.search) };
}

export function navigate(to: string, replace = false): void {
  if (to === location.pathname + location.search) return;
  history[replace ? 'replaceState' : 'pushState'](null, '', to);
  for (const watcher of watchers) watcher();
}

/** Changes the query only: filters and tabs are part of the address, so that a view can be sent to somebody. */
export function setSearch(changes: Record<string, string | null>): void {
  const search = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(changes)) {
    if (value) search.set(key, value);
    else search.delete(key);
  }
  const text = search.toString();
  navigate(location.pathname + (text ? `?${text}` : ''), true);
}

export function useLocation(): Location {
  const [now, set] = useState(read);
  useEffect(() => {
    const watcher = () => set(read());
    watchers.add(watcher);
    window.addEventListener('popstate', watcher);
    return () => {
      watchers.delete(watcher);
      window.removeEventListener('popstate', watcher);
    };
  }, []);
  return now;
}

/** Makes clicks on links within the pages stay in the page. */
export function interceptLinks(): () => void {
  const onClick = (event: MouseEvent) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.('a');
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (link.hash && link.pathname === location.pathname) return;
    if (/^\/(v1|docs|openapi\.json|healthz|readyz|metrics)(\/|$)/.test(link.pathname)) return;
    event.preventDefault();
    navigate(link.pathname + link.search);
  };
  document.addEventListener('click', onClick);
  return () => document.removeEventListener('click', onClick);
}

/** `/assets/:id` against `/assets/ast_1` → { id }; null if it does not fit. */
export function match(pattern: string, path: string): Record<string, string> | null {
  const want = pattern.split('/');
  const have = path.split('/');
  if (want.length !== have.length) return null;
  const out: Record<string, string> = {};
  for (let i = 0; i < want.length; i++) {
    const w = want[i]!;
    const h = have[i]!;
    if (w.startsWith(':')) {
      if (!h) return null;
      try {
        out[w.slice(1)] = decodeURIComponent(h);
      } catch {
        return null;
      }
    } else if (w !== h) return null;
  }
  return out;
}
