// Numbers as text. No function here reads a clock or the DOM.

import { unitText } from './unit';

const NONE = '–';
const NBSP = '\u00a0';
const THIN = '\u202f';

/** So many significant digits as are fit for reading, not for computing; no trailing zeros, never less than the whole part. */
export function num(value: number | null | undefined, digits = 4): string {
  if (value == null || !Number.isFinite(value)) return NONE;
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e9 || size < 1e-4) return value.toExponential(2).replace('e+', 'e').replace('-', '−');
  const decimals = Math.min(8, Math.max(0, digits - 1 - Math.floor(Math.log10(size))));
  const [int = '0', frac] = size.toFixed(decimals).split('.');
  const grouped = int.length > 4 ? int.replace(/\B(?=(\d{3})+$)/g, THIN) : int;
  const tail = frac?.replace(/0+$/, '');
  return (value < 0 ? '−' : '') + grouped + (tail ? `.${tail}` : '');
}

/** A count: whole, grouped by thousands. */
export function count(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return NONE;
  const int = String(Math.round(Math.abs(value)));
  return (value < 0 ? '−' : '') + (int.length > 4 ? int.replace(/\B(?=(\d{3})+$)/g, THIN) : int);
}

/** A count that must fit a small space: 12.4 k, 3.1 M. */
export function shortCount(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  for (const [factor, letter] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']] as const) {
    if (size >= factor) {
      const scaled = value / (letter === 'k' ? 1e3 : factor);
      return `${scaled.toFixed(scaled >= 100 ? 0 : 1)}${NBSP}${letter}`;
    }
  }
  return count(value);
}

export function quantity(value: number | null | undefined, unit: string | null | undefined, digits = 4): string {
  const text = num(value, digits);
  const shown = unitText(unit);
  return text === NONE || !shown ? text : `${text}${NBSP}${shown}`;
}

/** A share 0-1. Never says 0 % or 100 % of something that is merely close to it. */
export function percent(p: number | null | undefined): string {
  if (p == null || !Number.isFinite(p)) return NONE;
  const hundred = p * 100;
  if (hundred > 0 && hundred < 0.1) return `<${NBSP}0.1${NBSP}%`;
  if (hundred > 99.9 && hundred < 100) return `>${NBSP}99.9${NBSP}%`;
  return `${hundred < 10 && hundred > 0 ? trimmed(hundred, 1) : hundred > 99 ? trimmed(hundred, 1) : Math.round(hundred)}${NBSP}%`;
}

/** A probability 0-1. Nothing is certain: not even an exact 0 or 1, which a bound may be, is said as such. */
export function probability(p: number | null | undefined): string {
  return p == null ? NONE : percent(Math.min(1 - 1e-9, Math.max(1e-9, p)));
}

/** A probability with its interval: "12 % (8–19 %)". */
export function interval(p: number, low: number, high: number): string {
  return `${probability(p)} (${bounds(low, high)})`;
}

/** The interval alone: "8–19 %". */
export function bounds(low: number, high: number): string {
  return `${probability(low).replace(/\s?%$/, '')}–${probability(high)}`;
}

function trimmed(value: number, decimals: number): string {
  return value.toFixed(decimals).replace(/\.0+$/, '');
}

/** A span of time in the largest unit that keeps it readable: "45 s", "12 min", "5.5 h", "9 days". */
export function span(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return NONE;
  const s = Math.abs(seconds);
  if (s < 90) return `${Math.round(s)}${NBSP}s`;
  if (s < 5400) return `${Math.round(s / 60)}${NBSP}min`;
  if (s < 36 * 3600) return `${trimmed(s / 3600, s < 36000 ? 1 : 0)}${NBSP}h`;
  const days = s / 86400;
  if (days < 90) return `${trimmed(days, days < 10 ? 1 : 0)}${NBSP}days`;
  if (days < 730) return `${Math.round(days / 30.44)}${NBSP}months`;
  return `${trimmed(days / 365.25, 1)}${NBSP}years`;
}

export interface Life {
  p10_h?: number | null | undefined;
  p50_h?: number | null | undefined;
  p90_h?: number | null | undefined;
}

/** Remaining life as one phrase: "3–9 days, middle 6 days"; an open end says "beyond". */
export function life(rul: Life | null | undefined): string {
  if (!rul || rul.p10_h == null) return 'not known';
  const from = span(rul.p10_h * 3600);
  if (rul.p90_h == null) return `${from} to beyond what the model can see`;
  return `${from} to ${span(rul.p90_h * 3600)}`;
}

/** The short form of `life` for rows: "3–9 days". */
export function lifeShort(rul: Life | null | undefined): string {
  if (!rul || rul.p10_h == null) return NONE;
  const from = span(rul.p10_h * 3600);
  if (rul.p90_h == null) return `${from} or more`;
  const to = span(rul.p90_h * 3600);
  const [a, ua] = from.split(NBSP);
  const [b, ub] = to.split(NBSP);
  return ua === ub ? (a === b ? `${b}${NBSP}${ub}` : `${a}–${b}${NBSP}${ub}`) : `${from} – ${to}`;
}

/** snake_case codes as words: waiting_parts → "Waiting parts". */
export function words(code: string | null | undefined): string {
  if (!code) return '';
  const text = code.replace(/[_.]+/g, ' ').trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** The short tail of a prefixed id, enough to recognise it in a table. */
export function shortId(id: string): string {
  const [prefix, rest] = id.split('_');
  return rest && rest.length > 10 ? `${prefix}_…${rest.slice(-6)}` : id;
}
