// The ledger: was it stored, and if not, where did it go?

import { useMemo } from 'preact/hooks';
import { post } from '../api/client';
import { invalidate, useList, useNow, useQuery } from '../api/query';
import { may } from '../api/session';
import type { DeadLetter, Gap, LedgerDay } from '../api/types';
import type { Page } from '../lib/paging';
import { count, plural, words } from '../lib/format';
import { date } from '../lib/time';
import { setSearch, useLocation } from '../router';
import { Empty, Fetched, Head, Loading, More, Problem, Segments, Tag, Time, useAction } from '../ui/parts';
import { useTitle } from '../ui/title';

export function LedgerPage() {
  useTitle('Ledger');
  const { search } = useLocation();
  const tab = search.get('tab') ?? 'days';
  return (
    <>
      <Head title="Ledger">Every reading a gateway sent is accounted for: received = stored + duplicate + conflict + rejected + dead-lettered.</Head>
      <div class="filters"><Segments label="Part of the ledger" wide value={tab} options={[{ value: 'days', text: 'By day' }, { value: 'gaps', text: 'Gaps' }, { value: 'dead', text: 'Dead letters' }]} onChange={(v) => setSearch({ tab: v === 'days' ? null : v })} /></div>
      {tab === 'gaps' ? <Gaps /> : tab === 'dead' ? <DeadLetters /> : <Days />}
    </>
  );
}

function Days() {
  const found = useQuery<Page<LedgerDay>>('/v1/ledger?limit=200', 10_000);
  const now = useNow(60_000);
  const rows = found.data?.data;
  const total = useMemo(() => (rows ?? []).reduce((sum, r) => ({ received: sum.received + r.received, stored: sum.stored + r.stored, rest: sum.rest + (r.received - r.stored - r.duplicate - r.conflict - r.rejected - r.dead_lettered) }), { received: 0, stored: 0, rest: 0 }), [rows]);
  return (
    <section class="card" aria-label="Ledger by gateway and day">
      <Fetched of={{ ...found, data: rows }} rows={6} empty={<Empty title="Nothing received yet"><p>The first batch of a gateway opens its ledger.</p></Empty>}>
        {(list) => (
          <>
            <p class="state sum">{total.rest === 0 ? <Tag shape="check">The ledger closes</Tag> : <Tag shape="square" tone="poor">{count(total.rest)} readings are not accounted for</Tag>} <span class="soft">{count(total.received)} received, {count(total.stored)} stored. Days are UTC days of receipt.</span></p>
            <div class="scroll"><table class="cards">
              <thead><tr><th>Day</th><th>Gateway</th><th class="num">Received</th><th class="num">Stored</th><th class="num">Duplicate</th><th class="num">Conflict</th><th class="num">Dead-lettered</th><th class="num">Rejected</th><th class="num">Payloads</th><th class="num">Unreadable</th><th>Closes</th></tr></thead>
              <tbody>{list.map((r) => (
                <tr key={r.day + r.gateway.id}>
                  <td class="nowrap">{date(r.day, 'UTC', now)}</td>
                  <td>{r.gateway.slug}</td>
                  <td class="num" data-label="Received">{count(r.received)}</td>
                  <td class="num" data-label="Stored">{count(r.stored)}</td>
                  <td class="num" data-label="Duplicate">{count(r.duplicate)}</td>
                  <td class="num" data-label="Conflict">{r.conflict > 0 ? <Tag shape="triangle" tone="watch">{count(r.conflict)}</Tag> : '0'}</td>
                  <td class="num" data-label="Dead-lettered">{r.dead_lettered > 0 ? <a href="/ledger?tab=dead"><Tag shape="triangle" tone="watch">{count(r.dead_lettered)}</Tag></a> : '0'}</td>
                  <td class="num" data-label="Rejected">{count(r.rejected)}</td>
                  <td class="num" data-label="Payloads">{count(r.payloads)}</td>
                  <td class="num" data-label="Unreadable">{r.payloads_dead > 0 ? <a href="/ledger?tab=dead"><Tag shape="triangle" tone="watch">{count(r.payloads_dead)}</Tag></a> : '0'}</td>
                  <td data-label="Closes">{r.closes ? <Tag shape="check">yes</Tag> : <Tag shape="square" tone="poor">no</Tag>}</td>
                </tr>
              ))}</tbody>
            </table></div>
          </>
        )}
      </Fetched>
    </section>
  );
}

function Gaps() {
  const found = useQuery<Page<Gap>>('/v1/ledger/gaps?limit=200', 30_000);
  return (
    <section class="card" aria-label="Gaps in the gateways' sequences">
      <Fetched of={{ ...found, data: found.data?.data }} rows={4} empty={<Empty title="No gap"><p>Every batch number of every gateway has arrived.</p></Empty>}>
        {(gaps) => (
          <div class="scroll"><table class="cards">
            <thead><tr><th>Gateway</th><th class="num">Batches</th><th class="num">Missing</th><th>Seen</th><th>State</th></tr></thead>
            <tbody>{gaps.map((g) => (
              <tr key={`${g.gateway.id}${g.epoch}${g.first_seq}`}>
                <td>{g.gateway.slug}<span class="sub">epoch {g.epoch}</span></td>
                <td class="num" data-label="Batches">{count(g.first_seq)} to {count(g.last_seq)}</td>
                <td class="num" data-label="Missing">{count(g.last_seq - g.first_seq + 1)}</td>
                <td class="small"><Time at={g.seen_at} /></td>
                <td>{g.closed_at ? <Tag shape="check">closed <Time at={g.closed_at} /></Tag> : g.lost_at ? <Tag shape="square" tone="poor">lost on the gateway, <Time at={g.lost_at} /></Tag> : <Tag shape="triangle" tone="watch">open: the gateway still has them</Tag>}</td>
              </tr>
            ))}</tbody>
          </table></div>
        )}
      </Fetched>
    </section>
  );
}

function DeadLetters() {
  const { search } = useLocation();
  const which = search.get('letters') ?? 'open';
  const list = useList<DeadLetter>(which === 'open' ? '/v1/dead-letters?open=true' : '/v1/dead-letters', 30_000, 100);
  return (
    <section class="card" aria-label="Dead letters">
      <div class="chart-tools"><Segments label="Which dead letters" value={which} options={[{ value: 'open', text: 'Open' }, { value: 'all', text: 'All' }]} onChange={(v) => setSearch({ letters: v === 'open' ? null : v })} /><span class="small muted">What could not be stored, whole, with its reason.</span></div>
      <Fetched of={list} rows={5} empty={<Empty title="No dead letter"><p>Everything that arrived could be read and stored.</p></Empty>}>
        {(letters) => (
          <>
            <div class="scroll"><table class="cards">
              <thead><tr><th>Reason</th><th>Gateway</th><th>Topic</th><th class="num">Readings</th><th>Received</th><th>State</th></tr></thead>
              <tbody>{letters.map((d) => (
                <tr key={d.id} class="hover">
                  <td><a class="strong plain" href={`/ledger/dead-letters/${d.id}`}>{words(d.reason)}</a><span class="sub">{d.detail}</span></td>
                  <td>{d.gateway.slug}</td>
                  <td><span class="mono">{d.topic}</span></td>
                  <td class="num" data-label="Readings">{d.readings || 'not known'}</td>
                  <td class="small"><Time at={d.received_at} /></td>
                  <td><LetterState d={d} /></td>
                </tr>
              ))}</tbody>
            </table></div>
            <More list={list} />
          </>
        )}
      </Fetched>
    </section>
  );
}

function LetterState({ d }: { d: DeadLetter }) {
  if (d.replayed_at) return <Tag shape="check">Replayed</Tag>;
  if (d.discarded_at) return <Tag shape="cross">Discarded</Tag>;
  return <Tag shape="ring">Open</Tag>;
}

/** The payload as text if it is text, else as the usual columns of hex. */
export function payloadView(d: DeadLetter): { text: string; binary: boolean } {
  if (d.payload != null) return { text: pretty(d.payload), binary: false };
  if (d.payload_base64 == null) return { text: '', binary: false };
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.from(atob(d.payload_base64), (c) => c.charCodeAt(0));
  } catch {
    return { text: d.payload_base64, binary: true };
  }
  const lines: string[] = [];
  for (let i = 0; i < Math.min(bytes.length, 4096); i += 16) {
    const row = [...bytes.slice(i, i + 16)];
    const hex = row.map((b) => b.toString(16).padStart(2, '0')).join(' ').padEnd(47);
    lines.push(`${i.toString(16).padStart(6, '0')}  ${hex}  ${row.map((b) => (b >= 32 && b < 127 ? String.fromCharCode(b) : '.')).join('')}`);
  }
  if (bytes.length > 4096) lines.push(`… ${bytes.length - 4096} more bytes`);
  return { text: lines.join('\n'), binary: true };
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

export function DeadLetterPage({ params }: { params: Record<string, string> }) {
  const found = useQuery<DeadLetter>(`/v1/dead-letters/${encodeURIComponent(params['id'] ?? '')}`);
  const action = useAction();
  const d = found.data;
  useTitle(d ? `Dead letter: ${words(d.reason)}` : 'Dead letter');
  if (!d) return found.error ? <><Head title="Dead letter" /><Problem error={found.error} retry={found.refresh} /></> : <Loading />;
  const view = payloadView(d);
  const open = !d.replayed_at && !d.discarded_at;
  return (
    <>
      <p class="crumbs"><a href="/ledger">Ledger</a> / <a href="/ledger?tab=dead">Dead letters</a></p>
      <Head title={words(d.reason)} aside={open && may('ingest:write') ? <button type="button" class="btn" disabled={action.busy} onClick={() => action.run(() => post(`/v1/dead-letters/${d.id}/discard`), 'Discarded').then(() => { invalidate('/v1/dead-letters'); found.refresh(); })}>Discard</button> : <LetterState d={d} />}>{d.detail}</Head>
      <div class="grid2">
        <section class="card" aria-labelledby="h-payload"><header><h2 id="h-payload">Payload</h2><span class="small muted">{view.binary ? 'as hex' : 'as text'}</span></header><div class="body"><pre class="payload" tabIndex={0} role="region" aria-label="Payload">{view.text || 'empty'}</pre></div></section>
        <section class="card" aria-label="Facts"><div class="body"><dl class="kv">
          <dt>Gateway</dt><dd>{d.gateway.slug}</dd><dt>Topic</dt><dd class="mono">{d.topic}</dd><dt>Tried as</dt><dd>{d.format}</dd>
          <dt>Readings</dt><dd>{d.readings ? plural(d.readings, 'reading') : 'not known: nothing in it could be read'}</dd>
          <dt>Received</dt><dd><Time at={d.received_at} seconds /></dd><dt>State</dt><dd><LetterState d={d} /></dd>
        </dl></div></section>
      </div>
    </>
  );
}
