// The bands of the health index. The server counts assets by the same limits (/v1/overview).

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
