// Keyboard shortcuts: single keys and "g then x". Never while typing, never with a modifier, never under a dialog.

import { useEffect, useRef } from 'preact/hooks';

export type Keys = Record<string, () => void>;

const PAIR_MS = 1200;

function typing(target: EventTarget | null): boolean {
  const el = target as HTMLElement | null;
  return Boolean(el && (el.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(el.tagName)));
}

/** `{ 'g h': …, '?': … }` while the component is shown. */
export function useKeys(keys: Keys): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    let first = '';
    let at = 0;
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector('dialog[open]')) return;
      const pair = Date.now() - at < PAIR_MS ? `${first} ${event.key}` : '';
      const found = (pair && latest.current[pair]) || latest.current[event.key];
      // The second key of a pair belongs to the pair alone, whoever listens for it.
      if (pair && !latest.current[pair] && first === 'g') {
        first = '';
        return;
      }
      first = event.key;
      at = Date.now();
      if (found) {
        event.preventDefault();
        if (pair && latest.current[pair]) first = '';
        found();
      }
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);
}

export const SHORTCUTS: { title: string; keys: [string, string][] }[] = [
  { title: 'Go to', keys: [['g h', 'Fleet'], ['g a', 'Alarms'], ['g c', 'Cases'], ['g t', 'Tickets'], ['g p', 'Predictions'], ['g m', 'Maintenance plans'], ['g l', 'Ledger']] },
  { title: 'Anywhere', keys: [['/', 'Search or filter'], ['?', 'These shortcuts'], ['Esc', 'Close a dialog']] },
  { title: 'Predictions', keys: [['j / k', 'Next / previous'], ['c', 'Claim'], ['a', 'Accept'], ['d', 'Dismiss'], ['s', 'Snooze'], ['o', 'Open the asset']] },
];
