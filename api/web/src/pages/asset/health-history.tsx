// The health index over time.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { ApiError, get } from '../../api/client';
import { useNow, type Result } from '../../api/query';
import type { Alarm, Asset, Assessment } from '../../api/types';
import { query, type Page } from '../../lib/paging';
import { num } from '../../lib/format';
import { columns, thin } from '../../lib/series';
import { GOOD_FROM, POOR_BELOW } from '../../lib/health';
import { moment } from '../../lib/time';
import { Chart } from '../../ui/chart';
import { Empty, Fetched, Segments, SEVERITY_MARK } from '../../ui/parts';

const RANGES: Record<string, { days: number; text: string }> = { '1': { days: 1, text: '24 h' }, '7': { days: 7, text: '7 d' }, '30': { days: 30, text: '30 d' } };

export function HealthHistory({ asset, alarms }: { asset: Asset; alarms: Alarm[] }) {
  const zone = asset.site.time_zone;
  const [range, setRange] = useState('7');
  const minute = useNow(60_000);
  const days = RANGES[range]?.days ?? 7;
  // Whole 5 minutes, so that the address (and with it the cache) does not change with every redraw.
  const to = Math.ceil(minute.getTime() / 300_000) * 300;
  const from = to - days * 86_400;
  const list = useHealth(asset.id, days, to);
  const rows = list.data ?? NONE;
  const spec = useMemo(() => {
    const ts = rows.map((r) => new Date(r.window_end).getTime() / 1e3);
    const health = rows.map((r) => r.health);
    const c = columns({ ts, min: health, max: health, mean: health, n: [] }, Math.max(gapOf(ts), rows.length > 200 ? ((to - from) / SLICES) * 1.5 : 0));
    const begin = ts[0] !== undefined && ts[0] > from ? Math.min(ts[0], to - 3600) : from;
    return {
      zone, data: [c[0], c[1]], band: false, colours: ['--plot'], from: begin, to,
      marks: alarms.filter((a) => !a.channel && a.active_at).map((a) => ({
        from: new Date(a.active_at!).getTime() / 1e3,
        to: a.cleared_at ? new Date(a.cleared_at).getTime() / 1e3 : to,
        label: a.rule.name,
        tone: SEVERITY_MARK[a.severity]?.tone ?? ('none' as const),
      })),
      levels: [{ value: POOR_BELOW, tone: 'poor' as const }, { value: GOOD_FROM, tone: 'watch' as const }], fixed: [0, 100] as [number, number], height: 200,
    };
  }, [rows, zone, from, to, alarms]);
  const first = rows[0];
  const last = rows[rows.length - 1];
  const says = first && last
    ? `Health went from ${num(first.health, 3)} to ${num(last.health, 3)} between ${moment(first.window_end, zone, minute)} and ${moment(last.window_end, zone, minute)}.`
    : 'No assessment in this time.';
  return (
    <section class="card" aria-labelledby="h-health-history">
      <header><h2 id="h-health-history">Health history</h2><span class="end"><Segments label="Range of the health history" value={range} onChange={setRange} options={Object.entries(RANGES).map(([value, r]) => ({ value, text: r.text }))} /></span></header>
      <Fetched of={list} rows={4} empty={<Empty title="No assessment in this time" />}>
        {() => (
          <div class="body">
            <Chart spec={spec} label={says} />
            <p class="small muted">{says} Dashed: limits of watch ({GOOD_FROM}) and poor ({POOR_BELOW}).</p>
            <details>
              <summary>Show as a table</summary>
              <div class="scroll table-tall" tabIndex={0} role="region" aria-label="Health history as a table"><table class="compact"><thead><tr><th>Data to</th><th class="num">Health</th><th>Largest factor</th></tr></thead><tbody>
                {thin(rows, 100).reverse().map((r) => <tr key={r.window_end}><td>{moment(r.window_end, zone, minute)}</td><td class="num">{num(r.health, 3)}</td><td>{[...r.factors].sort((a, b) => b.penalty - a.penalty)[0]?.text ?? ''}</td></tr>)}
              </tbody></table></div>
            </details>
          </div>
        )}
      </Fetched>
    </section>
  );
}

const NONE: Assessment[] = [];
const SLICES = 40;

/**
 * The assessments of a stretch of time, oldest first. An asset that is assessed every minute has thousands in a
 * week: when they don't fit one page, the newest of each of 40 equal slices are taken, and all of the last one.
 */
function useHealth(id: string, days: number, to: number): Result<Assessment[]> {
  const [state, set] = useState<{ key: string; data?: Assessment[]; error?: ApiError }>({ key: '' });
  const [again, setAgain] = useState(0);
  const key = `${id}|${days}`;
  const have = useRef(state);
  have.current = state;
  useEffect(() => {
    const from = to - days * 86_400;
    const abort = new AbortController();
    const ask = (a: number, b: number, limit: number) => get<Page<Assessment>>(query(`/v1/assets/${encodeURIComponent(id)}/assessments`, {
      from: new Date(a * 1e3).toISOString(), to: new Date(b * 1e3).toISOString(), limit,
    }), abort.signal);
    void (async () => {
      try {
        // What is there already only needs what came since.
        const old = have.current.key === key ? have.current.data ?? [] : [];
        const known = old[old.length - 1];
        const newest = await ask(known ? new Date(known.window_end).getTime() / 1e3 + 0.001 : from, to, 200);
        const rows = [...old.filter((r) => new Date(r.window_end).getTime() / 1e3 >= from), ...newest.data];
        const last = newest.data[newest.data.length - 1];
        if (newest.has_more && last && !known) {
          const end = new Date(last.window_end).getTime() / 1e3;
          const width = (end - from) / SLICES;
          for (let i = 0; i < SLICES && width > 0; i += 4) {
            const some = await Promise.all(Array.from({ length: Math.min(4, SLICES - i) }, (_, j) => ask(from + (i + j) * width, from + (i + j + 1) * width, 2)));
            for (const page of some) rows.push(...page.data);
          }
        }
        set({ key, data: rows.sort((a, b) => a.window_end.localeCompare(b.window_end)) });
      } catch (e) {
        if (!abort.signal.aborted) set((old) => ({ ...(old.key === key ? old : { key }), error: e as ApiError }));
      }
    })();
    return () => abort.abort();
  }, [key, to, again]);
  const own = state.key === key ? state : { data: undefined, error: undefined };
  return { data: own.data, error: own.error, loading: !own.data && !own.error, refresh: () => setAgain((n) => n + 1) };
}

/** Four usual steps without an assessment are a gap. */
function gapOf(ts: readonly number[]): number {
  if (ts.length < 4) return 0;
  const steps = ts.slice(1).map((t, i) => t - ts[i]!).sort((a, b) => a - b);
  return 4 * Math.max(60, steps[Math.floor(steps.length / 2)]!);
}
