// Cases: one per asset and failure mode, with all the evidence and its one ticket.

import { useList, useQuery } from '../api/query';
import { useZones } from '../api/zones';
import type { Case, CaseDetail } from '../api/types';
import { interval, lifeShort, plural, span, words } from '../lib/format';
import { setSearch, useLocation } from '../router';
import { AlarmState, Empty, Fetched, Head, Loading, More, Problem, Range, Segments, SeverityTag, Tag, TicketState, Time } from '../ui/parts';
import { useTitle } from '../ui/title';
import { DecisionList } from './asset';
import { alarmValue } from './alarms';

export function CasesPage() {
  useTitle('Cases');
  const { search } = useLocation();
  const zoneOf = useZones();
  const which = search.get('which') ?? 'open';
  const list = useList<Case>(which === 'open' ? '/v1/cases?open=true' : '/v1/cases', 30_000, 100);
  return (
    <>
      <Head title="Cases">One case per asset and failure mode: alarms and predictions gather in it, and it has at most one open ticket.</Head>
      <div class="filters"><Segments label="Which cases" value={which} options={[{ value: 'open', text: 'Open' }, { value: 'all', text: 'All' }]} onChange={(v) => setSearch({ which: v === 'open' ? null : v })} /></div>
      <section class="card" aria-label="List of cases">
        <Fetched of={list} rows={6} empty={<Empty title={which === 'open' ? 'No case is open' : 'No case yet'}><p>A case opens by itself with the first alarm or prediction that deserves one.</p></Empty>}>
          {(cases) => (
            <>
              <div class="scroll"><table class="cards">
                <thead><tr><th>Severity</th><th>Case</th><th>Asset</th><th>Evidence</th><th>Ticket</th><th>Opened</th><th>Last change</th></tr></thead>
                <tbody>{cases.map((c) => (
                  <tr key={c.id} class="hover">
                    <td><SeverityTag severity={c.severity} /></td>
                    <td><a class="strong plain" href={`/cases/${c.id}`}>{c.title}</a><span class="sub">{c.failure_mode?.name ?? 'failure mode not known yet'}{c.closed_at && ` · closed${c.close_reason ? `: ${words(c.close_reason).toLowerCase()}` : ''}`}</span></td>
                    <td><a href={`/fleet/${c.asset.id}`}>{c.asset.name}</a></td>
                    <td>{plural(typeof c.alarms === 'number' ? c.alarms : c.alarms.length, 'alarm')}</td>
                    <td>{c.ticket ? <a class="pill plain" href={`/tickets/${c.ticket.id}`}><TicketState status={c.ticket.status} />#{c.ticket.number}</a> : <span class="muted small">no ticket</span>}</td>
                    <td class="small" data-label="Opened"><Time at={c.opened_at} zone={zoneOf(c.asset)} /></td>
                    <td class="small" data-label="Last change"><Time at={c.updated_at} zone={zoneOf(c.asset)} ago /></td>
                  </tr>
                ))}</tbody>
              </table></div>
              <More list={list} />
            </>
          )}
        </Fetched>
      </section>
    </>
  );
}

export function CasePage({ params }: { params: Record<string, string> }) {
  const found = useQuery<CaseDetail>(`/v1/cases/${encodeURIComponent(params['id'] ?? '')}`, 15_000);
  const c = found.data;
  const zoneOf = useZones();
  useTitle(c ? c.title : 'Case');
  if (!c) return found.error ? <><Head title="Case" /><Problem error={found.error} retry={found.refresh} /></> : <Loading rows={6} />;
  const zone = zoneOf(c.asset);
  return (
    <>
      <p class="crumbs"><a href="/cases">Cases</a></p>
      <Head title={c.title} aside={<SeverityTag severity={c.severity} />}>
        <a href={`/fleet/${c.asset.id}`}>{c.asset.name}</a> · {c.failure_mode?.name ?? 'failure mode not known yet'} · opened <Time at={c.opened_at} zone={zone} />{c.closed_at && <>, closed <Time at={c.closed_at} zone={zone} />{c.close_reason && ` (${words(c.close_reason).toLowerCase()})`}</>}
      </Head>
      <div class="grid2">
        <div class="stack">
          <section class="card" aria-labelledby="h-al">
            <header><h2 id="h-al">Alarms</h2></header>
            {c.alarms.length === 0 ? <Empty title="No alarm in this case" /> : (
              <div class="flush scroll"><table class="cards compact"><thead><tr><th>Alarm</th><th class="num">Peak</th><th class="num">Limit</th><th>State</th><th>Since</th></tr></thead><tbody>
                {c.alarms.map((a) => <tr key={a.id}><td><a href={`/alarms/${a.id}`}>{a.rule.name}</a></td><td class="num" data-label="Peak">{alarmValue(a, a.peak_value)}</td><td class="num" data-label="Limit">{alarmValue(a, a.limit_value)}</td><td><AlarmState alarm={a} /></td><td class="small"><Time at={a.active_at ?? a.pending_since} zone={zone} /></td></tr>)}
              </tbody></table></div>
            )}
          </section>
          <section class="card" aria-labelledby="h-pr">
            <header><h2 id="h-pr">Predictions</h2></header>
            {c.predictions.length === 0 ? <Empty title="No prediction in this case" /> : (
              <div class="body stack">{c.predictions.map((p) => (
                <div key={p.id}>
                  <div class="row between"><b class="strong">{interval(p.probability, p.p_low, p.p_high)} within {span(p.horizon_h * 3600)}</b><Tag shape="ring">{words(p.status)}</Tag></div>
                  <Range p={p.probability} low={p.p_low} high={p.p_high} />
                  <p class="small soft">{p.rul?.p10_h != null && `${lifeShort(p.rul)} likely left. `}{p.factors[0]?.text}</p>
                  <p class="small muted">Revision {p.revision}, data to <Time at={p.window_end} zone={zone} /></p>
                </div>
              ))}</div>
            )}
          </section>
        </div>
        <div class="stack">
          <section class="card" aria-labelledby="h-ti">
            <header><h2 id="h-ti">Ticket</h2></header>
            {c.tickets.length === 0 ? <Empty title="No ticket"><p>The decisions below say why.</p></Empty> : <div class="body stack">{c.tickets.map((t) => <p key={t.id}><a class="strong" href={`/tickets/${t.id}`}>#{t.number} {t.title ?? ''}</a> <TicketState status={t.status} /></p>)}</div>}
          </section>
          <section class="card" aria-labelledby="h-de">
            <header><h2 id="h-de">Why a ticket was made, or not</h2></header>
            <div class="body">{c.decisions.length === 0 ? <p class="muted">Not decided yet.</p> : <DecisionList list={c.decisions} zone={zone} />}</div>
          </section>
        </div>
      </div>
    </>
  );
}
