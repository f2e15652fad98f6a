// Shapes what /v1/channels/{id}/series answers into what the chart draws, and describes it in words.

import { num, quantity } from './format';

export interface SeriesData {
  ts: number[];
  min: (number | null)[];
  max: (number | null)[];
  mean: (number | null)[];
  n: (number | null)[];
}

/** x, mean, min, max: columns as uPlot wants them. */
export type Columns = [number[], (number | null)[], (number | null)[], (number | null)[]];

/**
 * Columns with a null row wherever two neighbours lie further apart than `gap_s`, so that a silence is drawn
 * as a gap and not as a line. The server does the same; doing it here too costs nothing and covers the tail
 * that is appended live.
 */
export function columns(data: SeriesData, gap_s: number | null): Columns {
  const out: Columns = [[], [], [], []];
  let last: number | undefined;
  for (let i = 0; i < data.ts.length; i++) {
    const ts = data.ts[i]!;
    if (last !== undefined && ts <= last) continue;
    if (last !== undefined && gap_s && gap_s > 0 && ts - last > gap_s) {
      out[0].push(last + (ts - last) / 2);
      out[1].push(null);
      out[2].push(null);
      out[3].push(null);
    }
    out[0].push(ts);
    out[1].push(data.mean[i] ?? null);
    out[2].push(data.min[i] ?? null);
    out[3].push(data.max[i] ?? null);
    last = ts;
  }
  return out;
}

/** Joins a newer part to an older one: the newer wins where they overlap; what is before `from` falls off. */
export function joinTail(old: SeriesData, tail: SeriesData, from: number): SeriesData {
  const cut = tail.ts[0] ?? Infinity;
  const out: SeriesData = { ts: [], min: [], max: [], mean: [], n: [] };
  const take = (part: SeriesData, keep: (ts: number) => boolean) => {
    for (let i = 0; i < part.ts.length; i++) {
      const ts = part.ts[i]!;
      if (!keep(ts)) continue;
      out.ts.push(ts);
      out.min.push(part.min[i] ?? null);
      out.max.push(part.max[i] ?? null);
      out.mean.push(part.mean[i] ?? null);
      out.n.push(part.n[i] ?? null);
    }
  };
  take(old, (ts) => ts >= from && ts < cut);
  take(tail, (ts) => ts >= from);
  return out;
}

/** Gathers finer points into buckets of `width` seconds that begin at `origin` and its multiples. */
export function rebucket(data: SeriesData, origin: number, width: number): SeriesData {
  const out: SeriesData = { ts: [], min: [], max: [], mean: [], n: [] };
  if (width <= 0) return data;
  let sum = 0;
  for (let i = 0; i < data.ts.length; i++) {
    const mean = data.mean[i];
    if (mean == null) continue;
    const n = data.n[i] || 1;
    const low = data.min[i] ?? mean;
    const high = data.max[i] ?? mean;
    const start = origin + Math.floor((data.ts[i]! - origin) / width) * width;
    const last = out.ts.length - 1;
    if (out.ts[last] === start) {
      sum += mean * n;
      out.n[last] = (out.n[last] ?? 0) + n;
      out.min[last] = Math.min(out.min[last] ?? low, low);
      out.max[last] = Math.max(out.max[last] ?? high, high);
      out.mean[last] = sum / out.n[last]!;
    } else {
      sum = mean * n;
      out.ts.push(start);
      out.min.push(low);
      out.max.push(high);
      out.mean.push(mean);
      out.n.push(n);
    }
  }
  return out;
}

export interface Summary {
  points: number;
  first?: { ts: number; value: number };
  last?: { ts: number; value: number };
  low?: { ts: number; value: number };
  high?: { ts: number; value: number };
  gaps: number;
}

export function summarise(c: Columns): Summary {
  const out: Summary = { points: 0, gaps: 0 };
  let hole = false;
  for (let i = 0; i < c[0].length; i++) {
    const ts = c[0][i]!;
    const mean = c[1][i];
    if (mean == null) {
      hole = out.points > 0;
      continue;
    }
    if (hole) {
      out.gaps++;
      hole = false;
    }
    out.points++;
    out.first ??= { ts, value: mean };
    out.last = { ts, value: mean };
    const low = c[2][i] ?? mean;
    const high = c[3][i] ?? mean;
    if (!out.low || low < out.low.value) out.low = { ts, value: low };
    if (!out.high || high > out.high.value) out.high = { ts, value: high };
  }
  return out;
}

/** One sentence a screen reader can say instead of the picture. */
export function sentence(label: string, unit: string, s: Summary, range: string): string {
  if (!s.first || !s.last || !s.low || !s.high) return `${label}: no readings in ${range}.`;
  const width = s.high.value - s.low.value;
  const change = s.last.value - s.first.value;
  const trend = width === 0 ? 'constant' : change > width * 0.25 ? 'rising' : change < -width * 0.25 ? 'falling' : 'without a clear trend';
  const gaps = s.gaps === 0 ? '' : s.gaps === 1 ? ', with one gap' : `, with ${s.gaps} gaps`;
  return `${label}: last ${quantity(s.last.value, unit)}, between ${num(s.low.value)} and ${quantity(s.high.value, unit)} in ${range}, ${trend}${gaps}.`;
}

/** At most `most` rows of a series for its table, spread evenly, the newest always among them. */
export function thin<T>(rows: readonly T[], most: number): T[] {
  if (rows.length <= most) return [...rows];
  const step = (rows.length - 1) / (most - 1);
  return Array.from({ length: most }, (_, i) => rows[Math.round(i * step)]!);
}
