// The live history chart: one panel per channel on a common time axis.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { ApiError, get } from '../../api/client';
import type { Result } from '../../api/query';
import type { Alarm, Asset, Channel, FactorDetail, Series } from '../../api/types';
import { query, type Page } from '../../lib/paging';
import { num, quantity, span, words } from '../../lib/format';
import { columns, joinTail, rebucket, sentence, summarise, thin, type Columns } from '../../lib/series';
import { unitText } from '../../lib/unit';
import { moment } from '../../lib/time';
import { Chart } from '../../ui/chart';
import type { Level, Mark } from '../../ui/plot';
import { Empty, Loading, Problem, Segments, SEVERITY_MARK } from '../../ui/parts';

const RANGES: Record<string, { seconds: number; text: string; say: string }> = {
  '1h': { seconds: 3600, text: '1 h', say: 'the last hour' },
  '24h': { seconds: 86_400, text: '24 h', say: 'the last 24 hours' },
  '7d': { seconds: 7 * 86_400, text: '7 d', say: 'the last 7 days' },
  '30d': { seconds: 30 * 86_400, text: '30 d', say: 'the last 30 days' },
};
const POINTS = 600;
const MOST_PANELS = 6;

interface Span { from: number; to: number; live: boolean; say: string }

export function HistoryCard({ asset, channels, alarms, factors }: {
  asset: Asset;
  channels: Result<Page<Channel>>;
  alarms: Alarm[];
  factors: FactorDetail[];
}) {
  const zone = asset.site.time_zone;
  const all = channels.data?.data;
  const [chosenRange, setRange] = useState<string | null>(null);
  const [custom, setCustom] = useState<{ from: number; to: number } | null>(null);
  const [begins, setBegins] = useState<number | null>(null);
  const newest = useMemo(() => newestReading(all ?? []), [all === undefined]);
  const usual = usualRange(newest, begins, Date.now() / 1e3);
  const range = chosenRange ?? usual;
  const [picked, setPicked] = useState<string[] | null>(null);
  const chosen = useMemo(() => picked ?? (all ? suggested(all, alarms, factors) : []), [picked, all === undefined, factors.length > 0]);
  const stretch = custom ?? (newest !== null ? { from: newest - 7 * 86_400, to: newest + 60 } : null);
  const chart: Span = range === 'custom' && stretch
    ? { ...stretch, live: false, say: 'the chosen time' }
    : { from: 0, to: 0, live: true, say: RANGES[range]?.say ?? 'the last 24 hours' };
  const seconds = RANGES[range]?.seconds ?? 86_400;
  const toggle = (id: string) => {
    const next = chosen.includes(id) ? chosen.filter((c) => c !== id) : [...chosen, id];
    setPicked(next.slice(-MOST_PANELS));
  };
  return (
    <section class="card" id="history" aria-labelledby="h-history">
      <header><h2 id="h-history">History</h2>
        <span class="small muted">{chart.live ? 'Live: the newest readings are added as they are committed' : `${moment(new Date(chart.from * 1e3).toISOString(), zone, new Date())} to ${moment(new Date(chart.to * 1e3).toISOString(), zone, new Date())}`}</span>
      </header>
      {channels.error && <div class="body"><Problem error={channels.error} retry={channels.refresh} /></div>}
      {channels.loading && <Loading />}
      {all?.length === 0 && <Empty title="No channel to draw"><p>This asset has no channels assigned yet.</p></Empty>}
      {all && all.length > 0 && (
        <>
          <div class="chart-tools">
            <div class="chips" role="group" aria-label="Channels">
              {all.map((c) => (
                <button key={c.id} type="button" class="chip-toggle" aria-pressed={chosen.includes(c.id)} onClick={() => toggle(c.id)}>
                  {c.label || words(c.name)}{unitText(c.unit) && <span class="muted">{unitText(c.unit)}</span>}
                </button>
              ))}
            </div>
            <span class="end"><Segments label="Range" value={range} onChange={(v) => {
              if (v === 'custom' && !custom) setCustom({ from: Date.now() / 1e3 - seconds, to: Date.now() / 1e3 });
              setRange(v);
            }} options={[...Object.entries(RANGES).map(([value, r]) => ({ value, text: r.text })), { value: 'custom', text: 'Custom' }]} /></span>
          </div>
          {range === 'custom' && stretch && <CustomRange value={stretch} onChange={setCustom} />}
          {chosen.length === 0 && <Empty title="No channel is chosen"><p>Choose one or more above.</p></Empty>}
          {chosen.map((id) => {
            const channel = all.find((c) => c.id === id);
            return channel && (
              <Panel key={id} channel={channel} zone={zone} span={chart} seconds={seconds}
                alarms={alarms.filter((a) => a.channel?.id === id)}
                onBegin={chosenRange === null && id === chosen[0] ? setBegins : undefined}
                onZoom={(from, to) => { setCustom({ from, to }); setRange('custom'); }} />
            );
          })}
          {chosen.length > 0 && (
            <p class="legend">
              <span><svg width="22" height="10" aria-hidden="true"><rect y="1" width="22" height="8" fill="var(--plot-band)" /><path d="M0 5h22" stroke="var(--plot)" stroke-width="1.500" /></svg>mean within lowest to highest</span>
              <span><svg width="22" height="10" aria-hidden="true"><path d="M0 5h22" stroke="var(--poor-fill)" stroke-dasharray="5 3" /></svg>alarm limit</span>
              <span><svg width="12" height="12" aria-hidden="true"><rect width="12" height="12" fill="var(--watch-soft)" /><path d="M0 0h12v4H0Z" fill="var(--watch-fill)" /></svg>alarm active</span>
              <span>a break in the line is a silence</span>
              <span>drag to look closer</span>
            </p>
          )}
        </>
      )}
    </section>
  );
}

function newestReading(all: readonly Channel[]): number | null {
  const times = all.flatMap((c) => (c.latest ? [new Date(c.latest.ts).getTime() / 1e3] : []));
  return times.length > 0 ? Math.max(...times) : null;
}

/**
 * The range to begin with: a day, unless the newest reading is older than that, or all readings are younger than
 * an hour. An empty or nearly empty chart would be the first thing to be seen otherwise.
 */
export function usualRange(newest: number | null, begins: number | null, now: number): string {
  const age = newest === null ? 0 : now - newest;
  if (age > 25 * 86_400) return 'custom';
  if (age > 5 * 86_400) return '30d';
  if (age > 12 * 3600) return '7d';
  return begins !== null && now - begins < 3600 ? '1h' : '24h';
}

/** What a person would look at first: channels of the largest factors, then those with alarms, then the first ones. */
export function suggested(all: readonly Channel[], alarms: readonly Alarm[], factors: readonly FactorDetail[]): string[] {
  const wanted = [
    ...[...factors].sort((a, b) => b.penalty - a.penalty).map((f) => (f.channel_id == null ? '' : String(f.channel_id))),
    ...alarms.map((a) => a.channel?.id ?? ''),
    ...all.filter((c) => c.kind === 'measurement').map((c) => c.id),
    ...all.map((c) => c.id),
  ];
  const known = new Set(all.map((c) => c.id));
  return [...new Set(wanted)].filter((id) => known.has(id)).slice(0, 3);
}

function CustomRange({ value, onChange }: { value: { from: number; to: number }; onChange: (v: { from: number; to: number }) => void }) {
  // The browser's own field speaks the reader's own zone: so does its label.
  const local = (s: number): string => {
    const d = new Date(s * 1e3);
    return new Date(d.getTime() - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
  };
  const set = (key: 'from' | 'to', text: string) => {
    const at = new Date(text).getTime() / 1e3;
    if (!Number.isFinite(at)) return;
    const next = { ...value, [key]: at };
    if (next.from < next.to) onChange(next);
  };
  return (
    <div class="custom-range">
      <label class="field"><span>From <span class="hint">(your own zone)</span></span><input type="datetime-local" value={local(value.from)} onChange={(e) => set('from', e.currentTarget.value)} /></label>
      <label class="field"><span>To <span class="hint">(your own zone)</span></span><input type="datetime-local" value={local(value.to)} onChange={(e) => set('to', e.currentTarget.value)} /></label>
    </div>
  );
}

interface Loaded { series: Series; from: number; to: number; key: string }

/** One channel's series; while live, only its newest part is asked for again. */
function useSeries(id: string, span: Span, seconds: number): { loaded: Loaded | null; error: ApiError | undefined; retry: () => void } {
  const [loaded, setLoaded] = useState<Loaded | null>(null);
  const [error, setError] = useState<ApiError>();
  const [again, setAgain] = useState(0);
  const key = `${id}|${span.live ? `live${seconds}` : `${span.from}-${span.to}`}`;
  const have = useRef<Loaded | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = (from: number, to: number, points: number) => get<Series>(query(`/v1/channels/${encodeURIComponent(id)}/series`, {
      from: new Date(from * 1e3).toISOString(), to: new Date(to * 1e3).toISOString(), points,
    }), abort.signal);
    const show = (next: Loaded) => {
      have.current = next;
      setLoaded(next);
      setError(undefined);
    };
    let asked = 0;
    const round = async () => {
      try {
        const now = Date.now() / 1e3;
        // Buckets that begin at multiples of their width stay the same ones while the window slides over them.
        const width = Math.max(1, Math.ceil(seconds / POINTS));
        const from = span.live ? Math.floor((now - seconds) / width) * width : span.from;
        const to = span.live ? now : span.to;
        const whole = async (): Promise<Series> => (span.live ? ask(from, from + (POINTS + 1) * width, POINTS + 1) : ask(from, to, POINTS));
        const old = have.current;
        const last = old?.key === key ? old.series.data.ts[old.series.data.ts.length - 1] : undefined;
        // The tail begins with the last known bucket, which was not complete then. Every 40th time all of it is
        // fetched, because late readings may have filled earlier buckets.
        if (span.live && old?.key === key && last !== undefined && asked % 40 !== 0) {
          const tail = await ask(Math.max(from, last), now + 60, POINTS);
          if (old.series.raw && !tail.raw) {
            show({ key, from, to, series: await whole() });
          } else {
            const data = old.series.raw ? tail.data : rebucket(tail.data, last, old.series.bucket_s);
            show({ key, from, to, series: { ...old.series, data: joinTail(old.series.data, data, from) } });
          }
        } else {
          show({ key, from, to, series: await whole() });
        }
        asked++;
      } catch (e) {
        if (e instanceof DOMException && e.name === 'AbortError') return;
        setError(e as ApiError);
      }
      if (!abort.signal.aborted && span.live) timer = setTimeout(tick, seconds <= 3600 ? 2000 : seconds <= 86_400 ? 5000 : 20_000);
    };
    const tick = () => { if (document.hidden) timer = setTimeout(tick, 2000); else void round(); };
    void round();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [key, again]);
  return { loaded: loaded?.key === key ? loaded : null, error, retry: () => setAgain((n) => n + 1) };
}

function Panel({ channel, zone, span: where, seconds, alarms, onBegin, onZoom }: {
  channel: Channel;
  zone: string;
  span: Span;
  seconds: number;
  alarms: Alarm[];
  /** Told once where the readings of a day begin. */
  onBegin?: ((ts: number) => void) | undefined;
  onZoom: (from: number, to: number) => void;
}) {
  const { loaded, error, retry } = useSeries(channel.id, where, seconds);
  const [index, setIndex] = useState<number | null>(null);
  const zoom = useRef(onZoom);
  zoom.current = onZoom;
  const first = seconds === 86_400 ? loaded?.series.data.ts[0] : undefined;
  useEffect(() => { if (first !== undefined) onBegin?.(first); }, [first === undefined]);
  const label = channel.label || words(channel.name);
  const cols: Columns = useMemo(() => (loaded ? columns(loaded.series.data, loaded.series.gap_s) : [[], [], [], []]), [loaded]);
  const says = useMemo(() => sentence(label, channel.unit, summarise(cols), where.say), [cols, label, channel.unit, where.say]);
  const alarmKey = alarms.map((a) => `${a.id}${a.row_version}`).join();
  const spec = useMemo(() => {
    const raw = loaded?.series.raw ?? true;
    const now = Date.now() / 1e3;
    const marks: Mark[] = alarms.filter((a) => a.active_at).map((a) => ({
      from: new Date(a.active_at!).getTime() / 1e3,
      to: a.cleared_at ? new Date(a.cleared_at).getTime() / 1e3 : now,
      label: a.rule.name,
      tone: SEVERITY_MARK[a.severity]?.tone ?? 'none',
    }));
    const levels: Level[] = [];
    for (const a of alarms) {
      if (a.channel?.id === channel.id && (a.rule.kind === 'high' || a.rule.kind === 'low') && !levels.some((l) => l.value === a.limit_value)) {
        levels.push({ value: a.limit_value, tone: SEVERITY_MARK[a.severity]?.tone ?? 'none' });
      }
    }
    return {
      zone,
      data: raw ? [cols[0], cols[1]] : cols,
      band: !raw,
      colours: ['--plot'],
      from: loaded?.from ?? now - seconds,
      to: loaded?.to ?? now,
      marks,
      levels,
      height: 168,
      sync: 'history',
      onCursor: setIndex,
      onZoom: (from: number, to: number) => zoom.current(from, to),
    };
  }, [cols, loaded, zone, alarmKey]);
  const at = index == null ? null : cols[0][index];
  const rows = useMemo(() => cols[0].map((ts, i) => ({ ts, mean: cols[1][i], min: cols[2][i], max: cols[3][i] })).filter((r) => r.mean != null), [cols]);
  const unit = unitText(channel.unit);
  return (
    <div class="panel" data-channel={channel.id}>
      <div class="panel-head">
        <h3>{label}{unit && <span class="muted"> {unit}</span>}</h3>
        <span class="readout" aria-hidden="true">
          {at != null && cols[1][index!] != null
            ? <><b>{quantity(cols[1][index!], channel.unit)}</b>{!loaded?.series.raw && <> ({num(cols[2][index!])} to {num(cols[3][index!])})</>} at {moment(new Date(at * 1e3).toISOString(), zone, new Date(), true)}</>
            : at != null ? 'silence' : channel.latest && where.live ? <>now <b>{quantity(channel.latest.value, channel.unit)}</b></> : ''}
        </span>
      </div>
      {error && <Problem error={error} retry={retry} />}
      {loaded && rows.length === 0 && !error
        ? <p class="state">No readings in {where.say}.{channel.latest ? ` The newest is from ${moment(channel.latest.ts, zone, new Date())}.` : ''}</p>
        : <Chart spec={spec} label={says} />}
      <p class="say">{loaded ? <>{says}{!loaded.series.raw && ` One point is ${span(loaded.series.bucket_s)}.`}</> : 'Loading readings …'}</p>
      {rows.length > 0 && (
        <details>
          <summary>Show as a table</summary>
          <div class="scroll table-tall" tabIndex={0} role="region" aria-label={`${label} as a table`}><table class="compact"><thead><tr><th>Time</th><th class="num">Mean</th><th class="num">Lowest</th><th class="num">Highest</th></tr></thead><tbody>
            {thin(rows, 200).reverse().map((r) => <tr key={r.ts}><td>{moment(new Date(r.ts * 1e3).toISOString(), zone, new Date(), true)}</td><td class="num">{quantity(r.mean, channel.unit)}</td><td class="num">{quantity(r.min, channel.unit)}</td><td class="num">{quantity(r.max, channel.unit)}</td></tr>)}
          </tbody></table></div>
        </details>
      )}
    </div>
  );
}

