// Alarms: what is wrong now, who has seen it, what is set aside.

import { useState } from 'preact/hooks';
import { post } from '../api/client';
import { invalidate, useList, useQuery } from '../api/query';
import { may } from '../api/session';
import { useZones } from '../api/zones';
import type { Alarm } from '../api/types';
import { quantity, words } from '../lib/format';
import { setSearch, useLocation } from '../router';
import { AlarmState, Dialog, Empty, Fetched, Head, Loading, More, Problem, Segments, Select, SeverityTag, Time, Timeline, useAction, who } from '../ui/parts';
import { useTitle } from '../ui/title';

const STATES = [
  { value: 'active', text: 'Active' },
  { value: 'unacked', text: 'Not acknowledged' },
  { value: 'shelved', text: 'Shelved' },
  { value: 'all', text: 'All' },
];

const EMPTY: Record<string, [string, string]> = {
  active: ['No alarm is active', 'No limit is exceeded and no model asks for attention.'],
  unacked: ['Every alarm is acknowledged', 'Nothing waits for somebody to have seen it.'],
  shelved: ['Nothing is shelved', 'A shelved alarm is set aside until a time you choose, then it comes back.'],
  all: ['No alarm has ever been raised', 'Alarm rules are set by POST /v1/alarm-rules; the demo plant brings its own.'],
};

export function AlarmsPage() {
  useTitle('Alarms');
  const { search } = useLocation();
  const state = search.get('state') ?? 'active';
  const severity = search.get('severity') ?? '';
  const list = useList<Alarm>(`/v1/alarms?state=${encodeURIComponent(state)}${severity ? `&severity=${encodeURIComponent(severity)}` : ''}`, 30_000, 100);
  const zoneOf = useZones();
  const [title, text] = EMPTY[state] ?? EMPTY['all']!;
  return (
    <>
      <Head title="Alarms">Each has three states: whether the condition holds, whether somebody has acknowledged it, and whether it is set aside.</Head>
      <div class="filters">
        <Segments label="Which alarms" wide value={state} options={STATES} onChange={(v) => setSearch({ state: v === 'active' ? null : v })} />
        <Select label="Severity" value={severity} onChange={(v) => setSearch({ severity: v })}
          options={[{ value: '', text: 'Any severity' }, ...['critical', 'serious', 'warning', 'info'].map((v) => ({ value: v, text: words(v) }))]} />
      </div>
      <section class="card" aria-label="List of alarms">
        <Fetched of={list} rows={6} empty={<Empty title={title}><p>{text}</p></Empty>}>
          {(alarms) => (
            <>
              <div class="scroll"><table class="cards">
                <thead><tr><th>Severity</th><th>Alarm</th><th>Asset</th><th class="num">Value</th><th>State</th><th>Since</th><th><span class="sr">Actions</span></th></tr></thead>
                <tbody>{urgentFirst(alarms).map((a) => <AlarmRow key={a.id} a={a} zone={zoneOf(a.asset)} />)}</tbody>
              </table></div>
              <More list={list} />
            </>
          )}
        </Fetched>
      </section>
    </>
  );
}

const RANK: Record<string, number> = { critical: 3, serious: 2, warning: 1, info: 0 };

/** By severity, the newest of each first. */
export function urgentFirst(alarms: readonly Alarm[]): Alarm[] {
  const since = (a: Alarm): string => a.active_at ?? a.pending_since;
  return [...alarms].sort((a, b) => (RANK[b.severity] ?? 0) - (RANK[a.severity] ?? 0) || since(b).localeCompare(since(a)));
}

/** What was compared with the limit: health in points and probabilities have no channel. */
export function alarmValue(a: Alarm, value: number): string {
  if (a.channel) return quantity(value, a.rule.kind === 'rate' ? `${a.channel.unit}/s` : a.rule.kind === 'no_data' || a.rule.kind === 'stuck' ? 's' : a.rule.kind === 'deviation' ? '1' : a.channel.unit);
  return a.rule.kind === 'probability_above' ? quantity(value * 100, '%') : quantity(value, '1');
}

function AlarmRow({ a, zone }: { a: Alarm; zone: string }) {
  return (
    <tr class="hover" data-alarm={a.id}>
      <td><SeverityTag severity={a.severity} /></td>
      <td><a class="strong plain" href={`/alarms/${a.id}`}>{a.rule.name}</a><span class="sub">{a.failure_mode?.name ?? words(a.rule.kind)}</span></td>
      <td><a href={`/fleet/${a.asset.id}`}>{a.asset.name}</a></td>
      <td class="num"><span class="nowrap">{alarmValue(a, a.last_value)}</span><span class="sub nowrap">limit {alarmValue(a, a.limit_value)}</span><span class="sub nowrap">peak {alarmValue(a, a.peak_value)}</span></td>
      <td><AlarmState alarm={a} />{a.flap_count > 0 && <span class="sub">came back {a.flap_count}×</span>}</td>
      <td class="small" data-label="Since"><Time at={a.active_at ?? a.pending_since} zone={zone} />{a.case_id && <span class="sub"><a href={`/cases/${a.case_id}`}>case</a></span>}</td>
      <td><AlarmActions a={a} /></td>
    </tr>
  );
}

const changed = () => invalidate('/v1/alarms', '/v1/overview', '/v1/assets', '/v1/cases');

function AlarmActions({ a }: { a: Alarm }) {
  const [shelving, setShelving] = useState(false);
  const action = useAction();
  const act = (what: string, body: unknown, done: string) => action.run(() => post(`/v1/alarms/${a.id}/${what}`, body, a.row_version), done).then((ok) => { changed(); return ok; });
  const label = `${a.rule.name} on ${a.asset.name}`;
  return (
    <span class="row actions-cell">
      {!a.acked_at && a.active_at && may('alarms:act') && <button type="button" class="btn small" disabled={action.busy} aria-label={`Acknowledge ${label}`} onClick={() => act('ack', {}, 'Acknowledged')}>Acknowledge</button>}
      {a.condition !== 'inactive' && may('alarms:act') && (a.suppression === 'shelved'
        ? <button type="button" class="btn small" disabled={action.busy} aria-label={`Take back ${label}`} onClick={() => act('unshelve', {}, 'Taken back from the shelf')}>Unshelve</button>
        : <button type="button" class="btn small quiet" aria-label={`Shelve ${label}`} onClick={() => setShelving(true)}>Shelve</button>)}
      {shelving && <ShelveDialog a={a} busy={action.busy} onClose={() => setShelving(false)} onShelve={(until, reason) => act('shelve', { until, reason }, 'Shelved').then((ok) => { if (ok) setShelving(false); })} />}
    </span>
  );
}

const SPANS = [{ value: '1', text: '1 hour' }, { value: '8', text: '8 hours' }, { value: '24', text: '1 day' }, { value: '168', text: '7 days' }];

function ShelveDialog({ a, busy, onClose, onShelve }: { a: Alarm; busy: boolean; onClose: () => void; onShelve: (until: string, reason: string) => void }) {
  const [hours, setHours] = useState('8');
  const [reason, setReason] = useState('');
  return (
    <Dialog title="Shelve the alarm" onClose={onClose}>
      <p class="soft">{a.rule.name} on {a.asset.name} is set aside and comes back by itself.</p>
      <form class="stack" onSubmit={(e) => {
        e.preventDefault();
        onShelve(new Date(Date.now() + Number(hours) * 3_600_000).toISOString(), reason.trim());
      }}>
        <div class="field"><span class="label">For</span><Segments label="For how long" wide value={hours} options={SPANS} onChange={setHours} /></div>
        <label class="field"><span>Reason</span><textarea required minLength={3} value={reason} onInput={(e) => setReason(e.currentTarget.value)} /></label>
        <div class="actions"><button type="button" class="btn quiet" onClick={onClose}>Cancel</button><button type="submit" class="btn primary" disabled={busy || reason.trim().length < 3}>Shelve</button></div>
      </form>
    </Dialog>
  );
}

export function AlarmPage({ params }: { params: Record<string, string> }) {
  const alarm = useQuery<Alarm>(`/v1/alarms/${encodeURIComponent(params['id'] ?? '')}`, 15_000);
  const a = alarm.data;
  const zoneOf = useZones();
  useTitle(a ? `${a.rule.name}, ${a.asset.name}` : 'Alarm');
  if (!a) return alarm.error ? <><Head title="Alarm" /><Problem error={alarm.error} retry={alarm.refresh} /></> : <Loading />;
  const zone = zoneOf(a.asset);
  return (
    <>
      <p class="crumbs"><a href="/alarms">Alarms</a></p>
      <Head title={a.rule.name} aside={<AlarmActions a={a} />}><a href={`/fleet/${a.asset.id}`}>{a.asset.name}</a>{a.failure_mode && ` · ${a.failure_mode.name}`}</Head>
      <div class="grid2">
        <section class="card" aria-label="State"><div class="body"><dl class="kv">
          <dt>Severity</dt><dd><SeverityTag severity={a.severity} /></dd>
          <dt>State</dt><dd><AlarmState alarm={a} />{a.acked_by && <span class="small muted"> by {who(a.acked_by)}</span>}</dd>
          {a.suppressed_until && <><dt>Set aside until</dt><dd><Time at={a.suppressed_until} zone={zone} />{a.suppression_reason && <span class="small muted">: {a.suppression_reason}</span>}</dd></>}
          {!a.suppressed_until && a.suppression !== 'none' && a.suppression_reason && <><dt>Silent, because</dt><dd>{a.suppression_reason}</dd></>}
          <dt>Kind</dt><dd>{words(a.rule.kind)}{a.channel && ` of ${a.channel.name}`}</dd>
          <dt>Limit</dt><dd>{alarmValue(a, a.limit_value)}</dd>
          <dt>First value</dt><dd>{alarmValue(a, a.first_value)}</dd>
          <dt>Last value</dt><dd>{alarmValue(a, a.last_value)}</dd>
          <dt>Peak</dt><dd>{alarmValue(a, a.peak_value)}</dd>
          <dt>First exceeded</dt><dd><Time at={a.pending_since} zone={zone} seconds /></dd>
          <dt>Active from</dt><dd><Time at={a.active_at} zone={zone} seconds /></dd>
          <dt>Returned to normal</dt><dd><Time at={a.cleared_at} zone={zone} seconds /></dd>
          <dt>Came back</dt><dd>{a.flap_count} times</dd>
          {a.dispatch && <><dt>Ticket</dt><dd>{a.dispatch.ticket_id && <><a href={`/tickets/${a.dispatch.ticket_id}`}>To the ticket</a><br /></>}<span class="soft small">{a.dispatch.reason}</span></dd></>}
          {a.case_id && <><dt>Case</dt><dd><a href={`/cases/${a.case_id}`}>Open the case</a></dd></>}
        </dl></div></section>
        <section class="card" aria-labelledby="h-ev"><header><h2 id="h-ev">What happened</h2></header><div class="body"><Timeline events={a.events ?? []} zone={zone} /></div></section>
      </div>
    </>
  );
}
