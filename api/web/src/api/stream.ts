// Live changes: one stream for the whole page. It resumes where it broke off; while it cannot be had, the pages poll.

import { useEffect, useState } from 'preact/hooks';
import { backoff, EventParser } from '../lib/sse';
import { whenGone } from './client';
import { invalidate } from './query';
import { session } from './session';

export type LiveState = 'connecting' | 'live' | 'polling';

/** Silence longer than this (three heartbeats) means that the connection is dead without having said so. */
const SILENCE_MS = 45_000;
const POLL_MS = 15_000;

let state: LiveState = 'connecting';
const watchers = new Set<() => void>();

function become(next: LiveState): void {
  if (state === next) return;
  state = next;
  for (const watcher of watchers) watcher();
}

/** What a change of this kind makes old. The pages of other assets than its own are left alone. */
export function touched(kind: string, asset: string | null = null): string[] {
  const [topic] = kind.split('.');
  const assets = ['/v1/overview', '/v1/assets?', '/v1/assets#', asset ? `/v1/assets/${asset}` : '/v1/assets/'];
  switch (topic) {
    // The server no longer has what happened since: look at everything anew.
    case 'reset': return ['/v1/'];
    case 'alarm': return ['/v1/alarms', '/v1/cases', ...assets];
    case 'case': return ['/v1/cases', '/v1/overview'];
    case 'decision': return ['/v1/decisions', '/v1/cases'];
    case 'ticket': return ['/v1/tickets', '/v1/cases', '/v1/decisions', ...assets];
    case 'prediction': return ['/v1/predictions', '/v1/overview', '/v1/cases'];
    case 'plan':
    case 'occurrence':
    case 'meter': return ['/v1/plans', '/v1/overview'];
    case 'asset': return assets;
    case 'dead_letter':
    case 'ledger': return ['/v1/ledger', '/v1/dead-letters', '/v1/overview'];
    default: return ['/v1/overview'];
  }
}

// The first change is shown at once; many in a row (a whole plant is assessed) are shown every 3 seconds.
const SOON_MS = 150;
const APART_MS = 3000;
const pending = new Set<string>();
let flushing: ReturnType<typeof setTimeout> | undefined;
let flushed = 0;

function mark(kind: string, asset: string | null): void {
  for (const prefix of touched(kind, asset)) pending.add(prefix);
  flushing ??= setTimeout(() => {
    flushing = undefined;
    flushed = Date.now();
    const all = [...pending];
    pending.clear();
    invalidate(...all);
  }, Math.max(SOON_MS, flushed + APART_MS - Date.now()));
}

/** Runs until the returned function is called. */
export function startStream(): () => void {
  let stopped = false;
  let attempt = 0;
  let lastId = '';
  let abort = new AbortController();
  let poll: ReturnType<typeof setInterval> | undefined;
  let wake: (() => void) | undefined;

  const startPolling = () => {
    become('polling');
    poll ??= setInterval(() => { if (!document.hidden) invalidate('/v1/'); }, POLL_MS);
  };
  const stopPolling = () => {
    clearInterval(poll);
    poll = undefined;
  };

  const once = async (): Promise<void> => {
    abort = new AbortController();
    const headers: Record<string, string> = { accept: 'text/event-stream', authorization: `Bearer ${session()?.token ?? ''}` };
    if (lastId) headers['last-event-id'] = lastId;
    const response = await fetch('/v1/stream', { headers, signal: abort.signal, cache: 'no-store', credentials: 'omit' });
    if (response.status === 401) {
      whenGone();
      throw new Error('signed out');
    }
    if (!response.ok || !response.body) throw new Error(`status ${response.status}`);
    const resumed = attempt > 0;
    attempt = 0;
    stopPolling();
    become('live');
    // Without an id to resume from, whatever happened during the break is not known: look at everything again.
    if (resumed && !lastId) invalidate('/v1/');
    const parser = new EventParser((event) => {
      lastId = event.id || lastId;
      const { kind, asset } = changeOf(event.event, event.data);
      mark(kind, asset);
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let silence: ReturnType<typeof setTimeout> | undefined;
    try {
      for (;;) {
        clearTimeout(silence);
        silence = setTimeout(() => abort.abort(), SILENCE_MS);
        const { done, value } = await reader.read();
        if (done) return;
        parser.feed(value);
      }
    } finally {
      clearTimeout(silence);
    }
  };

  void (async () => {
    while (!stopped) {
      try {
        await once();
      } catch {
        // Counted below; the state shown in the header is the message.
      }
      if (stopped) return;
      attempt++;
      if (attempt >= 2) startPolling();
      else become('connecting');
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, backoff(attempt - 1, Math.random()));
      });
    }
  })();

  // Back from sleep or from a lost network: don't wait for the timer.
  const onOnline = () => wake?.();
  window.addEventListener('online', onOnline);
  return () => {
    stopped = true;
    stopPolling();
    window.removeEventListener('online', onOnline);
    abort.abort();
    wake?.();
  };
}

function changeOf(event: string, data: string): { kind: string; asset: string | null } {
  try {
    const change = JSON.parse(data) as { kind?: unknown; asset_id?: unknown };
    return { kind: event !== 'message' ? event : String(change.kind ?? ''), asset: typeof change.asset_id === 'string' ? change.asset_id : null };
  } catch {
    return { kind: event, asset: null };
  }
}

export function useLive(): LiveState {
  const [now, set] = useState(state);
  useEffect(() => {
    const watcher = () => set(state);
    watchers.add(watcher);
    watcher();
    return () => { watchers.delete(watcher); };
  }, []);
  return now;
}
