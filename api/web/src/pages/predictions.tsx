// The inbox of predictions: read, decide, next; from the keyboard if wanted.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { post } from '../api/client';
import { invalidate, useList } from '../api/query';
import { may } from '../api/session';
import { useZones } from '../api/zones';
import type { Prediction } from '../api/types';
import { interval, lifeShort, num, span, words } from '../lib/format';
import { navigate, setSearch, useLocation } from '../router';
import { Dialog, Empty, Fetched, Head, More, Range, Segments, Tag, Time, useAction, who } from '../ui/parts';
import { useKeys } from '../ui/keys';
import { useTitle } from '../ui/title';

const WHICH: Record<string, { text: string; query: string; empty: string }> = {
  inbox: { text: 'To review', query: 'status=new,in_review', empty: 'The inbox is empty' },
  snoozed: { text: 'Snoozed', query: 'status=snoozed', empty: 'Nothing is snoozed' },
  decided: { text: 'Decided', query: 'status=accepted,attached,dismissed,expired', empty: 'Nothing has been decided yet' },
};

export function PredictionsPage() {
  useTitle('Predictions');
  const { search } = useLocation();
  const zoneOf = useZones();
  const which = search.get('which') ?? 'inbox';
  const chosen = WHICH[which] ?? WHICH['inbox']!;
  const list = useList<Prediction>(`/v1/predictions?${chosen.query}`, 30_000, 100);
  const rows = useMemo(() => [...(list.data ?? [])].sort((a, b) => b.probability - a.probability), [list.data]);
  const [at, setAt] = useState(0);
  const [asking, setAsking] = useState<'dismiss' | 'snooze' | null>(null);
  const action = useAction();
  const refs = useRef<(HTMLElement | null)[]>([]);
  const index = Math.min(at, Math.max(0, rows.length - 1));
  const chosenRow = rows[index];
  const move = (by: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, index + by));
    setAt(next);
    refs.current[next]?.focus();
  };
  const act = (p: Prediction, what: string, body: unknown, done: string) =>
    action.run(() => post(`/v1/predictions/${p.id}/${what}`, body, p.row_version), done).then((ok) => {
      invalidate('/v1/predictions', '/v1/overview', '/v1/cases', '/v1/tickets');
      return ok;
    });
  const can = may('predictions:act');
  const open = chosenRow && can && (which === 'inbox' || which === 'snoozed') ? chosenRow : null;
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    c: () => { if (open?.status === 'new') void act(open, 'claim', {}, 'Claimed'); },
    a: () => { if (open) void act(open, 'accept', {}, 'Accepted: a ticket will carry the work'); },
    d: () => { if (open) setAsking('dismiss'); },
    s: () => { if (open) setAsking('snooze'); },
    o: () => { if (chosenRow) navigate(`/fleet/${chosenRow.asset.id}`); },
  });
  useEffect(() => setAt(0), [which]);
  return (
    <>
      <Head title="Predictions">Accept what you believe, dismiss what you do not and say why, snooze what can wait. <span class="only-wide"><span class="kbd">j</span> <span class="kbd">k</span> move, <span class="kbd">c</span> claim, <span class="kbd">a</span> accept, <span class="kbd">d</span> dismiss, <span class="kbd">s</span> snooze.</span></Head>
      <div class="filters"><Segments label="Which predictions" wide value={which} options={Object.entries(WHICH).map(([value, w]) => ({ value, text: w.text }))} onChange={(v) => setSearch({ which: v === 'inbox' ? null : v })} /></div>
      <Fetched of={{ ...list, data: list.data ? rows : undefined }} rows={6} empty={<div class="card"><Empty title={chosen.empty}><p>A prediction appears when the probability of failing within its horizon passes the policy; later assessments revise it.</p></Empty></div>}>
        {() => (
          <ul class="inbox">
            {rows.map((p, i) => (
              <li key={p.id} ref={(el) => { refs.current[i] = el; }} tabIndex={-1} class={`card${i === index ? ' chosen' : ''}`} aria-current={i === index ? 'true' : undefined} onClick={() => setAt(i)}>
                <div class="inbox-row">
                  <div>
                    <h2><a class="plain" href={`/fleet/${p.asset.id}`}>{p.asset.name}</a></h2>
                    <p class="soft">{p.failure_mode?.name ?? 'Failure mode not known'}</p>
                    <p class="small muted"><Tag shape={p.status === 'new' ? 'dot' : 'ring'}>{words(p.status)}</Tag>{p.status === 'in_review' && p.claimed_by && ` by ${who(p.claimed_by)}`}{p.status === 'snoozed' && p.snoozed_until && <> until <Time at={p.snoozed_until} zone={zoneOf(p.asset)} /></>}{p.dismiss_reason && `: ${DISMISSALS[p.dismiss_reason] ?? p.dismiss_reason}`} · revision {p.revision} · data to <Time at={p.window_end} zone={zoneOf(p.asset)} /></p>
                  </div>
                  <div>
                    <Range p={p.probability} low={p.p_low} high={p.p_high} />
                    <p><b class="strong">{interval(p.probability, p.p_low, p.p_high)}</b> <span class="soft">within {span(p.horizon_h * 3600)}</span></p>
                    <p class="small soft">{p.rul?.p10_h != null ? `${lifeShort(p.rul)} likely left` : 'Time left not known'}</p>
                  </div>
                  <ul class="small soft factors">
                    {[...p.factors].filter((f) => f.penalty >= 0.5).sort((a, b) => b.penalty - a.penalty).slice(0, 3).map((f) => <li key={f.name}><b class="strong">−{num(f.penalty, 2)}</b> {f.text}</li>)}
                  </ul>
                </div>
                <div class="inbox-actions">
                  {p.case_id && <a class="small" href={`/cases/${p.case_id}`}>Case</a>}
                  {p.ticket_id && <a class="small" href={`/tickets/${p.ticket_id}`}>Ticket</a>}
                  {can && (p.status === 'new' || p.status === 'in_review' || p.status === 'snoozed') && (
                    <>
                      {p.status === 'new' && <button type="button" class="btn small quiet" disabled={action.busy} aria-label={`Claim ${p.asset.name}`} onClick={() => act(p, 'claim', {}, 'Claimed')}>Claim</button>}
                      <button type="button" class="btn small quiet" aria-label={`Snooze ${p.asset.name}`} onClick={() => { setAt(i); setAsking('snooze'); }}>Snooze</button>
                      <button type="button" class="btn small" aria-label={`Dismiss ${p.asset.name}`} onClick={() => { setAt(i); setAsking('dismiss'); }}>Dismiss</button>
                      <button type="button" class="btn small primary" disabled={action.busy} aria-label={`Accept ${p.asset.name}`} onClick={() => act(p, 'accept', {}, 'Accepted: a ticket will carry the work')}>Accept</button>
                    </>
                  )}
                </div>
              </li>
            ))}
          </ul>
        )}
      </Fetched>
      <More list={list} />
      {asking && chosenRow && <ReviewDialog what={asking} p={chosenRow} busy={action.busy} onClose={() => setAsking(null)} onGo={(body) => act(chosenRow, asking, body, asking === 'dismiss' ? 'Dismissed' : 'Snoozed').then((ok) => { if (ok) setAsking(null); })} />}
    </>
  );
}

const DISMISSALS: Record<string, string> = {
  false_alarm: 'False alarm',
  sensor_fault: 'Fault of the sensor',
  known_issue: 'Known already',
  expected_operation: 'Expected in this operation',
  already_planned: 'Work is planned already',
  not_economic: 'Not worth the work',
  other: 'Something else',
};

function ReviewDialog({ what, p, busy, onClose, onGo }: { what: 'dismiss' | 'snooze'; p: Prediction; busy: boolean; onClose: () => void; onGo: (body: unknown) => void }) {
  const [reason, setReason] = useState('');
  const [text, setText] = useState('');
  const [days, setDays] = useState('3');
  const snooze = what === 'snooze';
  return (
    <Dialog title={snooze ? 'Snooze the prediction' : 'Dismiss the prediction'} onClose={onClose}>
      <p class="soft">{p.asset.name}: {interval(p.probability, p.p_low, p.p_high)} within {span(p.horizon_h * 3600)}.</p>
      <form class="stack" onSubmit={(e) => {
        e.preventDefault();
        onGo(snooze ? { until: new Date(Date.now() + Number(days) * 86_400_000).toISOString() } : { reason, ...(text.trim() ? { text: text.trim() } : {}) });
      }}>
        {snooze
          ? <div class="field"><span class="label">Until it is asked again</span><Segments label="For how long" wide value={days} onChange={setDays} options={[{ value: '1', text: '1 day' }, { value: '3', text: '3 days' }, { value: '7', text: '7 days' }, { value: '14', text: '14 days' }]} /></div>
          : (
            <>
              <label class="field"><span>Reason <span class="hint">(kept beside the prediction; the models are judged by it)</span></span>
                <select required value={reason} onChange={(e) => setReason(e.currentTarget.value)}><option value="">Choose</option>{Object.entries(DISMISSALS).map(([value, label]) => <option key={value} value={value}>{label}</option>)}</select></label>
              <label class="field"><span>In your words {reason !== 'other' && <span class="hint">(if you like)</span>}</span><textarea required={reason === 'other'} value={text} onInput={(e) => setText(e.currentTarget.value)} /></label>
            </>
          )}
        <div class="actions"><button type="button" class="btn quiet" onClick={onClose}>Cancel</button><button type="submit" class="btn primary" disabled={busy}>{snooze ? 'Snooze' : 'Dismiss'}</button></div>
      </form>
    </Dialog>
  );
}
