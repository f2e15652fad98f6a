// The bands of the health index. The server counts assets by the same limits (/v1/overview).

import type { RolledUp } from '../api/types';
import { plural, span } from './format';

export type Band = 'good' | 'watch' | 'poor' | 'none';

/** Health at or above this is good. */
export const GOOD_FROM = 80;
/** Health below this is poor; between the two: watch. */
export const POOR_BELOW = 50;

export function band(health: number | null | undefined): Band {
  if (health == null || !Number.isFinite(health)) return 'none';
  if (health >= GOOD_FROM) return 'good';
  return health >= POOR_BELOW ? 'watch' : 'poor';
}

export const BAND_TEXT: Record<Band, string> = { good: 'Good', watch: 'Watch', poor: 'Poor', none: 'Not assessed' };

export interface Factor {
  name: string;
  penalty: number;
}

export interface Step<F extends Factor> {
  factor: F;
  /** Where the bar begins and ends on the 0-100 scale; from > to. */
  from: number;
  to: number;
}

/**
 * The bars that lead from 100 down to the health index, largest first. Factors without a penalty are left
 * out; what rounding or the floor at 0 leaves over is shown as its own step, so that the bars always close.
 */
export function waterfall<F extends Factor>(health: number, factors: readonly F[]): { steps: Step<F>[]; rest: number } {
  const steps: Step<F>[] = [];
  let at = 100;
  for (const factor of [...factors].filter((f) => f.penalty > 0).sort((a, b) => b.penalty - a.penalty)) {
    const to = Math.max(0, at - factor.penalty);
    steps.push({ factor, from: at, to });
    at = to;
  }
  const rest = at - health;
  return { steps, rest: Math.abs(rest) < 0.05 ? 0 : rest };
}

/** The part that pulls the most: "worst part: Motor bearing 1 at 14 (critical)". */
export function worstText(r: RolledUp, what = 'worst part'): string {
  const worst = r.worst_part;
  if (!worst) return '';
  return `${what}: ${worst.name} at ${Math.round(worst.health)} (${worst.criticality}${worst.stale ? ', silent since' : ''})`;
}

/** "own 92, worst part: Motor bearing 1 at 14 (critical)"; empty for an asset without parts. */
export function partsText(own: number | null | undefined, r: RolledUp): string {
  if (r.parts === 0 && !r.worst_part) return '';
  const itself = own == null ? 'not assessed itself' : `own ${Math.round(own)}`;
  return `${itself}, ${worstText(r) || 'no part assessed yet'}`;
}

/** What is not known of the parts, and how old the rest is. `always`: also when all is known. */
export function coverageText(r: RolledUp, always = false, one = 'part'): string {
  if (r.parts === 0 || (!always && r.parts_fresh === r.parts)) return '';
  const known = `${r.parts_fresh} of ${plural(r.parts, one)} assessed lately`;
  return r.oldest_age_s == null ? known : `${known}, the oldest data ${span(r.oldest_age_s)} old`;
}
