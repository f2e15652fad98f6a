// Times in a site's zone, with the zone named. `now` is always given, so that tests can give it.

import { span } from './format';

const cache = new Map<string, Intl.DateTimeFormat>();

function formatter(zone: string, options: Intl.DateTimeFormatOptions, language = 'en-GB'): Intl.DateTimeFormat {
  const key = language + zone + JSON.stringify(options);
  let found = cache.get(key);
  if (!found) {
    try {
      found = new Intl.DateTimeFormat(language, { timeZone: zone, ...options });
    } catch {
      // A zone this browser does not know: UTC is at least true, and it is named.
      found = new Intl.DateTimeFormat(language, { timeZone: 'UTC', ...options });
    }
    cache.set(key, found);
  }
  return found;
}

/** The reader's own zone, for pages that are not about one site. */
export function localZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
}

/** "CET", "GMT+5:30", "UTC": as the zone is called on that day. */
export function zoneName(zone: string, at: Date): string {
  // Which names a browser knows depends on the language: British English knows CET, American knows CST.
  let offset = 'UTC';
  for (const language of ['en-GB', 'en-US', 'en-AU']) {
    const name = formatter(zone, { timeZoneName: 'short' }, language).formatToParts(at).find((p) => p.type === 'timeZoneName')?.value;
    if (name && !/^(GMT|UTC)[+-]/.test(name)) return name;
    offset = name ?? offset;
  }
  return offset;
}

export function dayKey(at: Date, zone: string): string {
  return formatter(zone, { year: 'numeric', month: '2-digit', day: '2-digit' }).format(at);
}

/** "14:02:31 CET" today, "12 Mar, 14:02 CET" this year, with the year otherwise. */
export function moment(iso: string | null | undefined, zone: string, now: Date, seconds = false): string {
  if (!iso) return '–';
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  const clock = formatter(zone, {
    hour: '2-digit', minute: '2-digit', ...(seconds ? { second: '2-digit' } : {}), hourCycle: 'h23',
  }).format(at);
  const name = zoneName(zone, at);
  if (dayKey(at, zone) === dayKey(now, zone)) return `${clock} ${name}`;
  return `${date(iso, zone, now)}, ${clock} ${name}`;
}

/** "12 Mar" this year, "12 Mar 2025" otherwise. A bare date (2026-03-12) has no zone and keeps its day. */
export function date(iso: string | null | undefined, zone: string, now: Date): string {
  if (!iso) return '–';
  const bare = /^\d{4}-\d{2}-\d{2}$/.test(iso);
  const at = new Date(bare ? `${iso}T00:00:00Z` : iso);
  if (Number.isNaN(at.getTime())) return iso;
  const where = bare ? 'UTC' : zone;
  const sameYear = formatter(where, { year: 'numeric' }).format(at) === formatter(zone, { year: 'numeric' }).format(now);
  return formatter(where, { day: 'numeric', month: 'short', ...(sameYear ? {} : { year: 'numeric' }) }).format(at);
}

/** "12 min ago", "in 3 days", "just now". */
export function relative(iso: string | null | undefined, now: Date): string {
  if (!iso) return 'never';
  const seconds = (now.getTime() - new Date(iso).getTime()) / 1000;
  if (Number.isNaN(seconds)) return iso;
  if (Math.abs(seconds) < 10) return 'just now';
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}
