// The asset page: how it is, why, how long it has, and what is being done about it.

import { ApiError } from '../api/client';
import { useList, useNow, useQuery, type Result } from '../api/query';
import type { Alarm, Asset, Assessment, Channel, Decision, DiscreteEvent, Plan, Ticket } from '../api/types';
import type { Page } from '../lib/paging';
import { num, plural, quantity, span, words } from '../lib/format';
import { unitText } from '../lib/unit';
import { date, relative, zoneName } from '../lib/time';
import { useTitle } from '../ui/title';
import { AlarmState, Empty, Fetched, Head, Loading, PriorityTag, Problem, SeverityTag, StatusTag, TicketState, Time } from '../ui/parts';
import { HealthCard, OutlookCard } from './asset/condition';
import { HistoryCard } from './asset/history';
import { HealthHistory } from './asset/health-history';
import { PartsCard } from './asset/parts';

// Said by the asset itself: asking would only be answered by 404.
const NOT_ASSESSED: Result<Assessment> = { data: undefined, error: new ApiError(404, { title: 'Not assessed yet' }), loading: false, refresh: () => undefined };

// One array for all redraws: a new one each time would draw the charts again for nothing.
const NO_ALARMS: Alarm[] = [];

export function AssetPage({ params }: { params: Record<string, string> }) {
  const id = params['id'] ?? '';
  const base = `/v1/assets/${encodeURIComponent(id)}`;
  const asset = useQuery<Asset>(base, 30_000);
  const newest = useQuery<Assessment>(asset.data?.health ? `${base}/assessment` : null, 15_000);
  const assessment = asset.data && !asset.data.health ? NOT_ASSESSED : newest;
  const channels = useQuery<Page<Channel>>(`${base}/channels?limit=200`, 10_000);
  const alarms = useList<Alarm>(`/v1/alarms?state=all&asset_id=${encodeURIComponent(id)}`, 15_000, 50);
  useTitle(asset.data?.name ?? 'Asset');
  if (!asset.data) return asset.error ? <><Head title="Asset" /><Problem error={asset.error} retry={asset.refresh} /></> : <Loading rows={8} />;
  const a = asset.data;
  const zone = a.site.time_zone;
  return (
    <>
      <AssetHead a={a} />
      <PartsCard asset={a} />
      <div class="grid2">
        <HealthCard asset={a} assessment={assessment} />
        <OutlookCard zone={zone} assessment={assessment} />
      </div>
      <HistoryCard asset={a} channels={channels} alarms={alarms.data ?? NO_ALARMS} factors={assessment.data?.factors ?? []} />
      <div class="grid-even">
        <HealthHistory asset={a} alarms={alarms.data ?? NO_ALARMS} />
        <AlarmList alarms={alarms} zone={zone} />
      </div>
      <div class="grid-even">
        <Tickets id={id} zone={zone} />
        <Plans id={id} zone={zone} />
      </div>
      <ChannelTable channels={channels} zone={zone} />
      <div class="grid-even">
        <Events id={id} zone={zone} />
        <Decisions id={id} zone={zone} />
      </div>
    </>
  );
}

function AssetHead({ a }: { a: Asset }) {
  const now = useNow(60_000);
  const zone = a.site.time_zone;
  const facts: [string, string][] = [];
  if (a.manufacturer || a.model) facts.push(['Make', [a.manufacturer, a.model].filter(Boolean).join(' ')]);
  if (a.serial_number) facts.push(['Serial number', a.serial_number]);
  if (a.installed_at) facts.push(['In service since', `${date(a.installed_at, zone, now)}`]);
  for (const [key, value] of Object.entries(a.attributes ?? {})) {
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') facts.push([words(key), String(value)]);
  }
  return (
    <header class="page-head">
      <p class="crumbs"><a href="/">Fleet</a> / <a href={`/?site=${encodeURIComponent(a.site.id)}`}>{a.site.name}</a>{a.area ? ` / ${a.area.name}` : ''}</p>
      <div class="asset-head">
        <h1 tabIndex={-1}>{a.name}</h1>
        <StatusTag status={a.status} />
      </div>
      <p class="meta">
        <span>{a.class.name}</span>
        <span><span class="k">Criticality</span> {words(a.criticality).toLowerCase()}</span>
        <span><span class="k">Times in</span> {zone} ({zoneName(zone, now)})</span>
      </p>
      {(facts.length > 0 || (a.children?.length ?? 0) > 0) && (
        <details>
          <summary>Nameplate and parts</summary>
          <dl class="kv">{facts.map(([k, v]) => <div key={k} class="contents"><dt>{k}</dt><dd>{v}</dd></div>)}
            {(a.children?.length ?? 0) > 0 && <div class="contents"><dt>Parts</dt><dd>{a.children!.map((c, i) => <span key={c.id}>{i > 0 && ', '}<a href={`/fleet/${c.id}`}>{c.name}</a></span>)}</dd></div>}
          </dl>
        </details>
      )}
    </header>
  );
}

function AlarmList({ alarms, zone }: { alarms: ReturnType<typeof useList<Alarm>>; zone: string }) {
  return (
    <section class="card" id="alarms" aria-labelledby="h-alarms">
      <header><h2 id="h-alarms">Alarms</h2></header>
      <Fetched of={alarms} rows={3} empty={<Empty title="No alarm has been raised"><p>Its limits and models have found nothing that needs awareness.</p></Empty>}>
        {(list) => (
          <div class="flush scroll"><table class="cards compact"><thead><tr><th>Alarm</th><th>Severity</th><th>State</th><th>Since</th></tr></thead><tbody>
            {list.slice(0, 8).map((al) => (
              <tr key={al.id}>
                <td><a href={`/alarms/${al.id}`}>{al.rule.name}</a><span class="sub">peak {quantity(al.peak_value, al.channel?.unit)}, limit {quantity(al.limit_value, al.channel?.unit)}</span></td>
                <td><SeverityTag severity={al.severity} /></td>
                <td><AlarmState alarm={al} /></td>
                <td class="small"><Time at={al.active_at ?? al.pending_since} zone={zone} /></td>
              </tr>
            ))}
          </tbody></table></div>
        )}
      </Fetched>
    </section>
  );
}

function Tickets({ id, zone }: { id: string; zone: string }) {
  const tickets = useList<Ticket>(`/v1/tickets?asset_id=${encodeURIComponent(id)}`, 30_000, 20);
  return (
    <section class="card" aria-labelledby="h-tickets">
      <header><h2 id="h-tickets">Tickets</h2></header>
      <Fetched of={tickets} rows={3} empty={<Empty title="No ticket yet" />}>
        {(list) => (
          <div class="flush scroll"><table class="cards compact"><thead><tr><th>Ticket</th><th>Priority</th><th>State</th><th>Made</th></tr></thead><tbody>
            {list.map((t) => (
              <tr key={t.id}><td><a href={`/tickets/${t.id}`}>#{t.number} {t.title}</a><span class="sub">by {words(t.origin).toLowerCase()}{t.due_at ? <>, due <Time at={t.due_at} zone={zone} /></> : ''}</span></td>
                <td><PriorityTag priority={t.priority} /></td><td><TicketState status={t.status} /></td><td class="small"><Time at={t.created_at} zone={zone} /></td></tr>
            ))}
          </tbody></table></div>
        )}
      </Fetched>
    </section>
  );
}

export function UnitsToGo({ plan }: { plan: Plan }) {
  if (plan.units_to_go == null || !plan.every_units || !plan.meter) return null;
  const used = Math.min(1, Math.max(0, 1 - plan.units_to_go / plan.every_units));
  const over = plan.units_to_go < 0;
  return (
    <>
      <svg class="meter-bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">
        <rect width="100" height="8" fill="var(--sunk)" />
        <rect width={used * 100} height="8" fill={over ? 'var(--poor-fill)' : used > 0.9 ? 'var(--watch-fill)' : 'var(--line-strong)'} />
      </svg>
      <span class="small soft">{over ? `${quantity(-plan.units_to_go, plan.meter.unit)} overdue` : `${quantity(plan.units_to_go, plan.meter.unit)} to go`} of {quantity(plan.every_units, plan.meter.unit)}</span><span class="sub">{plan.meter.name} at {quantity(plan.meter.total, plan.meter.unit, 6)}</span>
    </>
  );
}

export function DueText({ plan, zone }: { plan: Plan; zone: string }) {
  const now = useNow(60_000);
  const due = plan.next_due;
  const open = plan.open_occurrence;
  return (
    <>
      {open && <span><span class="pill watch">Due {date(open.due_date, zone, now)}</span> {open.ticket_id ? <a class="small" href={`/tickets/${open.ticket_id}`}>to its ticket</a> : <span class="small muted">{words(open.status).toLowerCase()}</span>}<br /></span>}
      {due && <span><span class="due">{due.date ? date(due.date, zone, now) : open ? '' : 'Not in sight'}</span>{due.low && due.low !== due.high ? <span class="small muted"> <span class="nowrap">({date(due.low, zone, now)} to {due.high ? date(due.high, zone, now) : 'beyond'})</span></span> : null}<span class="sub">{due.explanation}</span></span>}
      {!due && (plan.no_day_because ? <span class="sub">{plan.no_day_because}</span> : !open && <span class="muted">Not known yet</span>)}
    </>
  );
}

function Plans({ id, zone }: { id: string; zone: string }) {
  const plans = useList<Plan>(`/v1/plans?asset_id=${encodeURIComponent(id)}`, 30_000, 50);
  return (
    <section class="card" aria-labelledby="h-plans">
      <header><h2 id="h-plans">Maintenance plans</h2></header>
      <Fetched of={plans} rows={3} empty={<Empty title="No plan"><p>No recurring work is set for this asset.</p></Empty>}>
        {(list) => (
          <div class="flush scroll"><table class="cards compact"><thead><tr><th>Plan</th><th>Next due</th></tr></thead><tbody>
            {list.map((p) => <tr key={p.id}><td><span class="strong">{p.name}</span>{!p.enabled && <span class="sub">Switched off</span>}<UnitsToGo plan={p} /></td><td><DueText plan={p} zone={zone} /></td></tr>)}
          </tbody></table></div>
        )}
      </Fetched>
    </section>
  );
}

/** Older than three of its own intervals (at least 2 min) is late: silence is not "fine". */
function late(channel: Channel, now: Date): boolean {
  if (!channel.latest) return true;
  return now.getTime() - new Date(channel.latest.ts).getTime() > Math.max(120, 3 * (channel.cadence_s ?? 60)) * 1000;
}

function ChannelTable({ channels, zone }: { channels: ReturnType<typeof useQuery<Page<Channel>>>; zone: string }) {
  const now = useNow();
  return (
    <section class="card" aria-labelledby="h-channels">
      <header><h2 id="h-channels">Channels</h2><span class="small muted">{channels.data ? plural(channels.data.data.length, 'channel') : ''}</span></header>
      {channels.error && <div class="body"><Problem error={channels.error} retry={channels.refresh} /></div>}
      {channels.loading && <Loading />}
      {channels.data?.data.length === 0 && <Empty title="No channel is assigned"><p>Channels that arrive without an asset are listed at <code>GET /v1/channels?unassigned=true</code>; assign one with PATCH.</p></Empty>}
      {channels.data && channels.data.data.length > 0 && (
        <div class="flush scroll"><table class="cards compact"><thead><tr><th>Channel</th><th class="num">Latest</th><th>Age</th><th>Unit</th><th>Kind</th><th>Device</th><th>Gateway</th></tr></thead><tbody>
          {channels.data.data.map((c) => {
            const old = late(c, now);
            return (
              <tr key={c.id} class={old ? 'stale' : ''}>
                <td><span class="strong">{c.label || c.name}</span>{c.label && c.label !== c.name && <span class="sub mono">{c.name}</span>}</td>
                <td class="num">{c.latest ? num(c.latest.value) : '–'}</td>
                <td title={c.latest ? c.latest.ts : ''}>{c.latest ? relative(c.latest.ts, now) : 'never'}{old && <span class="sub">{c.latest ? <>silent since <Time at={c.latest.ts} zone={zone} /></> : 'no reading yet'}</span>}</td>
                <td data-label="Unit">{unitText(c.unit) || '1'}</td>
                <td class="soft">{words(c.kind).toLowerCase()}{c.cadence_s ? <span class="sub">every {span(c.cadence_s)}</span> : null}</td>
                <td class="soft" data-label="Device">{c.device.name}</td>
                <td class="soft" data-label="Gateway">{c.gateway.slug}</td>
              </tr>
            );
          })}
        </tbody></table></div>
      )}
    </section>
  );
}

function Events({ id, zone }: { id: string; zone: string }) {
  const events = useQuery<Page<DiscreteEvent>>(`/v1/events?asset_id=${encodeURIComponent(id)}&limit=30`, 30_000);
  return (
    <section class="card" aria-labelledby="h-events">
      <header><h2 id="h-events">Events</h2></header>
      {events.error && <div class="body"><Problem error={events.error} retry={events.refresh} /></div>}
      {events.loading && <Loading rows={3} />}
      {events.data?.data.length === 0 && <Empty title="No events"><p>Codes that the devices send, such as faults and starts, appear here.</p></Empty>}
      {events.data && events.data.data.length > 0 && (
        <div class="body"><ol class="timeline">{events.data.data.slice(0, 15).map((e, i) => <li key={i}><span class="strong">{e.code}</span> <span class="muted small"><Time at={e.ts} zone={zone} seconds />, severity {e.severity}</span>{e.message && <p class="soft small">{e.message}</p>}</li>)}</ol></div>
      )}
    </section>
  );
}

const OUTCOME: Record<string, string> = {
  created: 'Ticket made',
  attached: 'Attached to a ticket that was open',
  reopened: 'Ticket reopened',
  suppressed: 'No ticket: suppressed',
  cool_down: 'No ticket: cooling down',
  below_policy: 'No ticket: below the policy',
  asset_not_in_service: 'No ticket: asset not in service',
};

export function DecisionList({ list, zone }: { list: Decision[]; zone?: string | undefined }) {
  return (
    <ol class="timeline">
      {list.map((d, i) => (
        <li key={i}>
          <span class="strong">{OUTCOME[d.outcome] ?? words(d.outcome)}</span>{' '}
          {d.ticket_id && <a class="small" href={`/tickets/${d.ticket_id}`}>to the ticket</a>}{' '}
          <span class="muted small"><Time at={d.at} zone={zone} /></span>
          <p class="soft small">{d.reason}</p>
        </li>
      ))}
    </ol>
  );
}

function Decisions({ id, zone }: { id: string; zone: string }) {
  const decisions = useQuery<Page<Decision>>(`/v1/decisions?asset_id=${encodeURIComponent(id)}&limit=20`, 30_000);
  return (
    <section class="card" aria-labelledby="h-decisions">
      <header><h2 id="h-decisions">Why a ticket was made, or not</h2></header>
      {decisions.error && <div class="body"><Problem error={decisions.error} retry={decisions.refresh} /></div>}
      {decisions.loading && <Loading rows={3} />}
      {decisions.data?.data.length === 0 && <Empty title="No decision so far"><p>Every alarm, prediction or due plan is judged once, and the reason is kept here.</p></Empty>}
      {decisions.data && decisions.data.data.length > 0 && <div class="body"><DecisionList list={decisions.data.data} zone={zone} /></div>}
    </section>
  );
}

