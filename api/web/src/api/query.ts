// Reading for components: what was fetched is shown at once and refreshed behind it; live events and finished
// actions mark parts of it as old by the beginning of their path.

import { useCallback, useEffect, useReducer, useRef, useState } from 'preact/hooks';
import { joinPages, query, type Page, type Paged } from '../lib/paging';
import { ApiError, get } from './client';

interface Entry {
  data?: unknown;
  error?: ApiError | undefined;
  at: number;
  running?: Promise<void> | undefined;
  /** Asked for again while a request was under way. */
  again: boolean;
  /** Known to be old: to be fetched by whoever shows it. */
  stale: boolean;
  /** Pages of a list that were asked for; 1 for everything else. */
  depth: number;
  watchers: Set<() => void>;
}

const entries = new Map<string, Entry>();
const KEEP_UNUSED_MS = 5 * 60_000;
let generation = 0;

function entry(key: string): Entry {
  let found = entries.get(key);
  if (!found) {
    found = { at: 0, again: false, stale: false, depth: 1, watchers: new Set() };
    entries.set(key, found);
  }
  return found;
}

function tell(e: Entry): void {
  for (const watcher of e.watchers) watcher();
}

type Load = (e: Entry) => Promise<unknown>;

function refresh(key: string, load: Load): Promise<void> {
  const e = entry(key);
  if (e.running) {
    e.again = true;
    return e.running;
  }
  const born = generation;
  e.running = load(e)
    .then(
      (data) => {
        if (born !== generation) return;
        e.data = data;
        e.error = undefined;
        e.at = Date.now();
      },
      (error: unknown) => {
        if (born !== generation) return;
        e.error = error instanceof ApiError ? error : new ApiError(0, { title: 'Unexpected failure', detail: String(error) });
      },
    )
    .finally(() => {
      e.running = undefined;
      tell(e);
      if (e.again && e.watchers.size > 0) {
        e.again = false;
        void refresh(key, load);
      }
    });
  tell(e);
  return e.running;
}

/** Marks everything under these paths as old; what is on screen is fetched again at once. */
export function invalidate(...prefixes: string[]): void {
  for (const [key, e] of entries) {
    if (!prefixes.some((prefix) => key.startsWith(prefix))) continue;
    e.stale = true;
    tell(e);
  }
}

/** Another tenant or another person: nothing of before may be shown. */
export function forgetAll(): void {
  generation++;
  for (const e of entries.values()) {
    delete e.data;
    e.error = undefined;
    e.at = 0;
    e.depth = 1;
    e.stale = true;
    tell(e);
  }
}

export interface Result<T> {
  data: T | undefined;
  error: ApiError | undefined;
  loading: boolean;
  refresh: () => void;
}

function useEntry(key: string | null, pollMs: number, load: Load): Entry | null {
  const [, redraw] = useReducer<number, undefined>((n) => n + 1, 0);
  const loader = useRef(load);
  loader.current = load;
  useEffect(() => {
    if (!key) return;
    const e = entry(key);
    const watcher = () => {
      redraw(undefined);
      if (!e.stale) return;
      e.stale = false;
      void refresh(key, loader.current);
    };
    e.watchers.add(watcher);
    if (e.stale || Date.now() - e.at > 1000) void refresh(key, loader.current);
    const timer = pollMs > 0 ? setInterval(() => { if (!document.hidden) void refresh(key, loader.current); }, pollMs) : undefined;
    const onShow = () => { if (!document.hidden && Date.now() - e.at > 5000) void refresh(key, loader.current); };
    document.addEventListener('visibilitychange', onShow);
    return () => {
      e.watchers.delete(watcher);
      clearInterval(timer);
      document.removeEventListener('visibilitychange', onShow);
      setTimeout(() => { if (e.watchers.size === 0 && entries.get(key) === e) entries.delete(key); }, KEEP_UNUSED_MS);
    };
  }, [key, pollMs]);
  return key ? entry(key) : null;
}

/** One answer of the API by its path. `null` asks nothing. */
export function useQuery<T>(path: string | null, pollMs = 0): Result<T> {
  const load = useCallback<Load>(() => get<T>(path ?? ''), [path]);
  const e = useEntry(path, pollMs, load);
  return {
    data: e?.data as T | undefined,
    error: e?.error,
    loading: Boolean(e && e.data === undefined && !e.error),
    refresh: () => { if (path) void refresh(path, load); },
  };
}

export interface ListResult<T> extends Result<T[]> {
  more: boolean;
  loadMore: () => void;
}

/** A list with its further pages. Refreshing fetches as many pages as are shown. */
export function useList<T extends { id: string }>(path: string | null, pollMs = 0, limit = 100): ListResult<T> {
  const key = path ? `${path}#list${limit}` : null;
  const load = useCallback<Load>(async (e) => {
    const pages: Page<T>[] = [];
    let cursor: string | null = null;
    for (let i = 0; i < e.depth; i++) {
      const page: Page<T> = await get<Page<T>>(query(path ?? '', { limit, cursor }));
      pages.push(page);
      cursor = page.next_cursor ?? null;
      if (!cursor) break;
    }
    return joinPages(pages);
  }, [path, limit]);
  const e = useEntry(key, pollMs, load);
  const paged = e?.data as Paged<T> | undefined;
  return {
    data: paged?.rows,
    error: e?.error,
    loading: Boolean(e && e.data === undefined && !e.error),
    more: paged?.more ?? false,
    refresh: () => { if (key) void refresh(key, load); },
    loadMore: () => {
      if (!key || !e) return;
      e.depth++;
      void refresh(key, load);
    },
  };
}

/** The present time, ticking every `ms`, so that "3 min ago" stays true. */
export function useNow(ms = 10_000): Date {
  const [now, set] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => set(new Date()), ms);
    return () => clearInterval(timer);
  }, [ms]);
  return now;
}
