// The home page: what needs a decision, and how every asset is.

import { useMemo } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import { useList, useNow, useQuery } from '../api/query';
import type { Asset, Case, Overview, Prediction, Site, SiteHealth } from '../api/types';
import { bounds, count, interval, lifeShort, num, percent, plural, shortCount, span, words } from '../lib/format';
import { band, coverageText, GOOD_FROM, partsText, POOR_BELOW, worstText } from '../lib/health';
import { moment } from '../lib/time';
import { setSearch, useLocation } from '../router';
import { useTitle } from '../ui/title';
import { ShapeMark } from '../ui/icons';
import { BAND_MARK, Empty, Fetched, HealthBar, Head, More, Problem, Range, Segments, Select, SEVERITY_MARK, StatusTag, Tag, TicketState, Time } from '../ui/parts';

export function FleetPage() {
  useTitle('Fleet');
  const overview = useQuery<Overview>('/v1/overview', 15_000);
  const o = overview.data;
  return (
    <>
      <Head title="Fleet" aside={o ? <span class="muted small">As of <Time at={o.as_of} seconds /></span> : undefined} />
      {overview.error && <Problem error={overview.error} retry={overview.refresh} />}
      <Strip o={o} />
      <Decisions />
      <Assets health={o?.sites} />
    </>
  );
}

function Strip({ o }: { o: Overview | undefined }) {
  const now = useNow();
  const c = o?.counts;
  // With their parts, as the list below shows them.
  const assessed = c ? c.rolled_up_healthy + c.rolled_up_watch + c.rolled_up_poor : 0;
  const unknown = c ? Math.max(0, c.assets - assessed) : 0;
  const silent = o?.ingest.last_received_at ? (now.getTime() - new Date(o.ingest.last_received_at).getTime()) / 1000 : null;
  const v = (n: number | undefined): string => (n === undefined ? '–' : count(n));
  return (
    <section class="strip" aria-label="Summary">
      <div>
        <span class="k">Assets in service</span>
        <span class="v">{v(c?.assets)}</span>
        {c && <Split parts={[[c.rolled_up_poor, 'var(--poor-fill)'], [c.rolled_up_watch, 'var(--watch-fill)'], [c.rolled_up_healthy, 'var(--line-strong)'], [unknown, 'var(--sunk)']]} />}
        <span class="d">
          <Tag shape="diamond" tone={c?.rolled_up_poor ? 'poor' : 'none'}>{v(c?.rolled_up_poor)} poor</Tag>
          <Tag shape="triangle" tone={c?.rolled_up_watch ? 'watch' : 'none'}>{v(c?.rolled_up_watch)} watch</Tag>
          <Tag shape="ring">{v(c?.rolled_up_healthy)} good</Tag>
          {c && c.rolled_up_by_part > 0 && <span>{count(c.rolled_up_by_part)} by a part</span>}
          {unknown > 0 && <Tag shape="dashed">{count(unknown)} not assessed</Tag>}
        </span>
      </div>
      <Cell href="/alarms" k="Active alarms" v={v(c?.alarms_active)}>
        {c?.alarms_unacked ? <Tag shape="triangle" tone="watch">{count(c.alarms_unacked)} not acknowledged</Tag> : c ? 'all acknowledged' : ''}
      </Cell>
      <Cell href="/cases" k="Open cases" v={v(c?.cases_open)}>{c ? plural(c.predictions_open, 'prediction to review', 'predictions to review') : ''}</Cell>
      <Cell href="/tickets" k="Open tickets" v={v(c?.tickets_open)}>{c ? `${plural(c.plans_due, 'plan')} due` : ''}</Cell>
      <Cell href="/ledger" k="Readings stored today" v={o ? shortCount(o.ingest.readings_today) : '–'}>
        {o && (
          <>
            <span>{num(o.ingest.readings_per_s, 3)} per s</span>
            {o.ingest.rejected_today > 0
              ? <Tag shape="triangle" tone="watch">{count(o.ingest.rejected_today)} rejected</Tag>
              : <span>none rejected</span>}
            {silent === null
              ? <Tag shape="dashed">nothing received yet</Tag>
              : silent > 120 && <Tag shape="triangle" tone="watch">silent for {span(silent)}</Tag>}
          </>
        )}
      </Cell>
    </section>
  );
}

function Cell({ href, k, v, children }: { href: string; k: string; v: string; children: ComponentChildren }) {
  return <a href={href}><span class="k">{k}</span><span class="v">{v}</span><span class="d">{children}</span></a>;
}

function Split({ parts }: { parts: [number, string][] }) {
  const all = parts.reduce((sum, [n]) => sum + n, 0) || 1;
  let x = 0;
  return (
    <svg class="split" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
      {parts.map(([n, fill], i) => {
        const at = x;
        x += (n / all) * 100;
        return n > 0 && <rect key={i} x={at} width={Math.max(0.4, (n / all) * 100 - 0.5)} height="10" fill={fill} />;
      })}
    </svg>
  );
}

interface DecisionRow { key: string; case?: Case; prediction?: Prediction }

/** Open cases with the prediction that belongs to each, and predictions that have no case yet; the urgent first. */
export function decisionRows(cases: readonly Case[], predictions: readonly Prediction[]): DecisionRow[] {
  const rank = { critical: 3, serious: 2, warning: 1, info: 0 } as const;
  const open = predictions.filter((p) => ['new', 'in_review', 'accepted', 'attached'].includes(p.status));
  const used = new Set<string>();
  const rows: DecisionRow[] = cases.map((c) => {
    const own = open
      .filter((p) => p.case_id === c.id || (p.asset.id === c.asset.id && (p.failure_mode?.id ?? null) === (c.failure_mode?.id ?? null)))
      .sort((a, b) => b.probability - a.probability);
    for (const p of own) used.add(p.id);
    return own[0] ? { key: c.id, case: c, prediction: own[0] } : { key: c.id, case: c };
  });
  for (const p of open) if (!used.has(p.id) && (p.status === 'new' || p.status === 'in_review')) rows.push({ key: p.id, prediction: p });
  const weight = (r: DecisionRow) => (r.case ? rank[r.case.severity] ?? 0 : 0) + (r.prediction?.probability ?? 0) * 1.5;
  return rows.sort((a, b) => weight(b) - weight(a));
}

const SHOWN = 6;

function Decisions() {
  const cases = useList<Case>('/v1/cases?open=true', 30_000, 50);
  const predictions = useList<Prediction>('/v1/predictions?status=new,in_review,accepted,attached', 30_000, 200);
  const rows = useMemo(() => decisionRows(cases.data ?? [], predictions.data ?? []), [cases.data, predictions.data]);
  const waiting = cases.loading || predictions.loading;
  return (
    <section aria-labelledby="decide">
      <div class="section-title"><h2 id="decide">Needs a decision</h2>{rows.length > SHOWN && <a class="small" href="/cases">All {rows.length}</a>}</div>
      <div class="card">
        {cases.error && <div class="body"><Problem error={cases.error} retry={cases.refresh} /></div>}
        {waiting && !cases.error && <div class="state muted" role="status">Looking for open cases …</div>}
        {!waiting && !cases.error && rows.length === 0 && <Empty title="Nothing needs a decision"><p>No case is open and no prediction waits for review.</p></Empty>}
        {rows.length > 0 && <ul class="case-rows">{rows.slice(0, SHOWN).map((r) => <li key={r.key}><DecisionLine row={r} /></li>)}</ul>}
      </div>
    </section>
  );
}

/** The case's title, unless it only repeats the asset and the failure mode. */
function says(c: Case): string {
  const rest = c.title.replace(c.asset.name, '').replace(c.failure_mode?.name ?? '', '').replace(/\b(on|of|at|in)\b|[\s:,.–-]/gi, '');
  return rest === '' ? '' : c.title;
}

function DecisionLine({ row }: { row: DecisionRow }) {
  const { case: c, prediction: p } = row;
  const asset = c?.asset ?? p!.asset;
  const mode = c?.failure_mode?.name ?? p?.failure_mode?.name;
  const mark = c ? SEVERITY_MARK[c.severity] : { shape: 'ring' as const, tone: 'none' as const };
  return (
    <div class="case-row">
      <div class="what">
        <ShapeMark {...mark} size={13} />
        <div class="grow">
          <a class="title" href={c ? `/cases/${c.id}` : '/predictions'}>{asset.name}</a>
          <span class="soft"> · {mode ?? 'failure mode not known yet'}</span>
          <div class="small muted clip">{c ? <>{words(c.severity)} · opened <Time at={c.opened_at} ago />{says(c) && ` · ${says(c)}`}</> : 'Prediction, no case yet'}</div>
        </div>
      </div>
      <div class="risk">
        {p ? (
          <>
            <Range p={p.probability} low={p.p_low} high={p.p_high} />
            <div class="small soft"><b class="strong">{interval(p.probability, p.p_low, p.p_high)}</b> to fail within {span(p.horizon_h * 3600)}</div>
          </>
        ) : <span class="small muted">By alarm, no prediction</span>}
      </div>
      <div class="small">{p?.rul?.p10_h != null ? <><span class="strong nowrap">{lifeShort(p.rul)}</span><br /><span class="muted">likely left</span></> : <span class="muted">Time left not known</span>}</div>
      <div class="ticket">
        {c?.ticket
          ? <a class="pill plain" href={`/tickets/${c.ticket.id}`}><TicketState status={c.ticket.status} />#{c.ticket.number}</a>
          : <span class="pill ghost">No ticket</span>}
      </div>
    </div>
  );
}

const VIEW_KEY = 'forewarn.fleet.view';

function Assets({ health: ofSites }: { health: SiteHealth[] | undefined }) {
  const { search } = useLocation();
  const site = search.get('site') ?? '';
  const klass = search.get('class') ?? '';
  const health = search.get('health') ?? '';
  const q = search.get('q') ?? '';
  const sort = search.get('sort') ?? 'health';
  const view = search.get('view') ?? stored(VIEW_KEY) ?? 'list';
  const sites = useList<Site>('/v1/sites', 0, 200);
  // The worst are on the first page, however many assets there are.
  const assets = useList<Asset>(sort === 'health' ? '/v1/assets?sort=rolled_up' : '/v1/assets', 30_000, 200);
  const classes = useMemo(() => {
    const seen = new Map<string, string>();
    for (const a of assets.data ?? []) seen.set(a.class.id, a.class.name);
    return [...seen].sort((a, b) => a[1].localeCompare(b[1]));
  }, [assets.data]);
  const shown = useMemo(() => pick(assets.data ?? [], { site, klass, health, q, sort }), [assets.data, site, klass, health, q, sort]);
  const groups = useMemo(() => bySite(shown), [shown]);
  const filtered = site || klass || health || q;
  const List = view === 'tiles' ? Tiles : Rows;
  return (
    <section aria-labelledby="assets">
      <div class="section-title"><h2 id="assets">Assets</h2>
        <span class="muted" role="status">{assets.data ? (filtered ? `${shown.length} of ${assets.data.length}` : plural(assets.data.length, 'asset')) : ''}</span>
      </div>
      <div class="filters">
        <input type="search" aria-label="Search assets" placeholder="Search name, class, area" value={q} onInput={(e) => setSearch({ q: e.currentTarget.value })} />
        <Select label="Site" value={site} onChange={(v) => setSearch({ site: v })}
          options={[{ value: '', text: 'All sites' }, ...(sites.data ?? []).map((s) => ({ value: s.id, text: s.name }))]} />
        <Select label="Class" value={klass} onChange={(v) => setSearch({ class: v })}
          options={[{ value: '', text: 'All classes' }, ...classes.map(([value, text]) => ({ value, text }))]} />
        <Select label="Health" value={health} onChange={(v) => setSearch({ health: v })}
          options={[{ value: '', text: 'Any health' }, { value: 'poor', text: `Poor (below ${POOR_BELOW})` }, { value: 'watch', text: `Watch (${POOR_BELOW}–${GOOD_FROM})` }, { value: 'good', text: `Good (from ${GOOD_FROM})` }, { value: 'none', text: 'Not assessed' }]} />
        <Select label="Sort" value={sort} onChange={(v) => setSearch({ sort: v === 'health' ? null : v })}
          options={[{ value: 'health', text: 'Worst first' }, { value: 'name', text: 'By name' }, { value: 'criticality', text: 'By criticality' }]} />
        <span class="end"><Segments label="View" value={view} onChange={(v) => { store(VIEW_KEY, v); setSearch({ view: v }); }} options={[{ value: 'list', text: 'List' }, { value: 'tiles', text: 'Tiles' }]} /></span>
      </div>
      <Fetched of={assets} rows={8} empty={<div class="card"><Empty title="No assets yet"><p>Assets appear here once they are registered, by <code>POST /v1/assets</code> or by an import. The <a href="/docs">API reference</a> shows how.</p></Empty></div>}>
        {() => (
          <>
            {groups.length === 0 && <div class="card"><Empty title="No asset fits the filters"><button type="button" class="btn" onClick={() => setSearch({ q: null, site: null, class: null, health: null })}>Clear the filters</button></Empty></div>}
            {groups.map((g) => (
              <section key={g.site.id} aria-label={g.site.name}>
                <div class="site-head"><h3>{g.site.name}</h3><span class="small muted">{plural(g.assets.length, 'asset')} · times in {g.site.time_zone}</span></div>
                <SiteLine of={ofSites?.find((s) => s.id === g.site.id)} />
                <List assets={g.assets} />
              </section>
            ))}
            <More list={assets} />
          </>
        )}
      </Fetched>
    </section>
  );
}

interface Filter { site: string; klass: string; health: string; q: string; sort: string }

const CRITICALITY = { critical: 3, high: 2, medium: 1, low: 0 } as const;

export function pick(assets: readonly Asset[], f: Filter): Asset[] {
  const needles = f.q.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (a: Asset) => {
    if (f.site && a.site.id !== f.site) return false;
    if (f.klass && a.class.id !== f.klass) return false;
    if (f.health && band(a.rolled_up.value) !== f.health) return false;
    if (needles.length === 0) return true;
    const hay = `${a.name} ${a.class.name} ${a.area?.name ?? ''} ${a.site.name} ${a.serial_number ?? ''}`.toLowerCase();
    return needles.every((n) => hay.includes(n));
  };
  const name = (a: Asset, b: Asset) => a.name.localeCompare(b.name, 'en', { numeric: true });
  // Not assessed comes after every number: nothing is known, which is not the same as bad or good.
  const value = (a: Asset) => a.rolled_up.value ?? 101;
  // Of a machine and the part that makes it so, the part first.
  const cause = (a: Asset) => Number(a.rolled_up.by_part);
  return assets.filter(fits).sort((a, b) => {
    if (f.sort === 'name') return name(a, b);
    if (f.sort === 'criticality') return (CRITICALITY[b.criticality] ?? 0) - (CRITICALITY[a.criticality] ?? 0) || value(a) - value(b) || name(a, b);
    return value(a) - value(b) || cause(a) - cause(b) || name(a, b);
  });
}

function bySite(assets: readonly Asset[]): { site: Asset['site']; assets: Asset[] }[] {
  const groups = new Map<string, { site: Asset['site']; assets: Asset[] }>();
  for (const a of assets) {
    const g = groups.get(a.site.id) ?? { site: a.site, assets: [] };
    g.assets.push(a);
    groups.set(a.site.id, g);
  }
  return [...groups.values()].sort((a, b) => a.site.name.localeCompare(b.site.name));
}

/** How a site and its areas are, each with all its assets as parts. */
function SiteLine({ of }: { of: SiteHealth | undefined }) {
  if (!of || of.rolled_up.parts === 0) return null;
  const r = of.rolled_up;
  const areas = of.areas.filter((a) => a.rolled_up.parts > 0);
  const mark = (value: number | null | undefined, stale: boolean) => (stale ? { shape: 'dashed' as const } : BAND_MARK[band(value)]);
  const value = (v: number | null | undefined) => (v == null ? '–' : Math.round(v));
  return (
    <p class="site-line small">
      <Tag {...mark(r.value, r.stale)}>Site {value(r.value)}</Tag>
      {areas.map((a) => <Tag key={a.id} {...mark(a.rolled_up.value, a.rolled_up.stale)}>{a.name} {value(a.rolled_up.value)}</Tag>)}
      {r.worst_part && <a class="soft" href={`/fleet/${r.worst_part.id}`}>{worstText(r, 'worst')}</a>}
      <span class="muted">{coverageText(r, false, 'asset')}</span>
    </p>
  );
}

function PartsNote({ a }: { a: Asset }) {
  const text = [partsText(a.health?.value, a.rolled_up), coverageText(a.rolled_up)].filter(Boolean).join(' · ');
  return text ? <span class="sub small muted parts-note">{text}</span> : null;
}

function WorkTags({ a }: { a: Asset }) {
  return (
    <>
      {a.alarms_active > 0 && <Tag shape="triangle" tone="watch">{plural(a.alarms_active, 'alarm')}</Tag>}{' '}
      {a.tickets_open > 0 && <Tag shape="check">{plural(a.tickets_open, 'ticket')}</Tag>}
    </>
  );
}

function StaleNote({ a }: { a: Asset }) {
  const now = useNow(60_000);
  if (!a.health?.stale) return null;
  return <span class="sub">Last known {moment(a.health.as_of, a.site.time_zone, now)}: silent since, not healthy</span>;
}

function factorText(a: Asset): string {
  // Of an asset that has parts, the line about them says so.
  if (!a.health) return a.rolled_up.parts > 0 ? '' : 'No assessment yet';
  // What costs less than 3 points is the noise of a healthy machine: not worth a reader's eye.
  return a.health.top_factor && a.health.top_factor.penalty >= 3 ? a.health.top_factor.text : '';
}

function Rows({ assets }: { assets: Asset[] }) {
  return (
    <div class="card scroll">
      <table class="asset-table cards">
        <thead><tr><th class="c-name">Asset</th><th class="c-health">Health</th><th>Largest factor</th><th class="c-risk num">Fails in 30 d</th><th class="c-status">Status</th><th class="c-work">Open</th></tr></thead>
        <tbody>
          {assets.map((a) => (
            <tr key={a.id} class={`hover${a.rolled_up.stale ? ' is-stale' : ''}`}>
              <td><a class="name" href={`/fleet/${a.id}`}>{a.name}</a><span class="sub">{a.class.name}{a.area ? ` · ${a.area.name}` : ''}</span></td>
              <td><HealthBar value={a.rolled_up.value} stale={a.rolled_up.stale} /></td>
              <td class="soft small"><span class="factor clip">{factorText(a)}</span><PartsNote a={a} /><StaleNote a={a} /></td>
              <td class="num small" data-label="Fails within 30 days">{a.p_fail_30d ? <>{percent(a.p_fail_30d.p)} <span class="sub nowrap">{bounds(a.p_fail_30d.low, a.p_fail_30d.high)}</span></> : <span class="muted">not known</span>}</td>
              <td class={a.status === 'operational' ? 'calm' : ''}><StatusTag status={a.status} /></td>
              <td><WorkTags a={a} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Tiles({ assets }: { assets: Asset[] }) {
  return (
    <div class="tiles">
      {assets.map((a) => (
        <a key={a.id} class={`tile${a.rolled_up.stale ? ' is-stale' : ''}`} href={`/fleet/${a.id}`}>
          <span><span class="name">{a.name}</span><br /><span class="small muted">{a.class.name}</span></span>
          <HealthBar value={a.rolled_up.value} stale={a.rolled_up.stale} />
          <PartsNote a={a} />
          <span class="foot">{a.status !== 'operational' && <StatusTag status={a.status} />}<WorkTags a={a} /></span>
        </a>
      ))}
    </div>
  );
}

function stored(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // The address still carries the choice.
  }
}

