// Tickets: the work.

import { useList, useNow } from '../api/query';
import { useZones } from '../api/zones';
import type { Ticket } from '../api/types';
import { words } from '../lib/format';
import { setSearch, useLocation } from '../router';
import { Empty, Fetched, Head, More, PriorityTag, Segments, Tag, TicketState, Time } from '../ui/parts';
import { useTitle } from '../ui/title';

const OPEN = 'open,accepted,planned,waiting_parts,waiting_window,scheduled,assigned,in_progress,on_hold';
const WHICH: Record<string, { text: string; query: string; empty: string }> = {
  open: { text: 'Open', query: `status=${OPEN}`, empty: 'No ticket is open' },
  mine: { text: 'Mine', query: 'mine=true', empty: 'No ticket is assigned to you' },
  done: { text: 'Done', query: 'status=completed,closed,cancelled', empty: 'No ticket has been finished yet' },
  all: { text: 'All', query: '', empty: 'No ticket yet' },
};

export function TicketsPage() {
  useTitle('Tickets');
  const now = useNow(60_000);
  const { search } = useLocation();
  const which = search.get('which') ?? 'open';
  const zoneOf = useZones();
  const chosen = WHICH[which] ?? WHICH['open']!;
  const list = useList<Ticket>(`/v1/tickets${chosen.query ? `?${chosen.query}` : ''}`, 30_000, 100);
  return (
    <>
      <Head title="Tickets">Work on assets, whether an alarm, a prediction, a plan or a person asked for it.</Head>
      <div class="filters"><Segments label="Which tickets" wide value={which} options={Object.entries(WHICH).map(([value, w]) => ({ value, text: w.text }))} onChange={(v) => setSearch({ which: v === 'open' ? null : v })} /></div>
      <section class="card" aria-label="List of tickets">
        <Fetched of={list} rows={6} empty={<Empty title={chosen.empty}><p>Tickets are made by cases and due plans, once each, and by people with <code>POST /v1/tickets</code>.</p></Empty>}>
          {(tickets) => (
            <>
              <div class="scroll"><table class="cards">
                <thead><tr><th>Ticket</th><th>Asset</th><th>Priority</th><th>State</th><th>Assigned to</th><th>Due</th><th>Made</th></tr></thead>
                <tbody>{tickets.map((t) => {
                  const zone = t.site.time_zone ?? zoneOf(t.asset);
                  const over = t.due_at && new Date(t.due_at) < now && !['completed', 'closed', 'cancelled'].includes(t.status);
                  return (
                    <tr key={t.id} class="hover">
                      <td><a class="strong plain" href={`/tickets/${t.id}`}>#{t.number} {t.title}</a><span class="sub">by {words(t.origin).toLowerCase()}{t.failure_mode && ` · ${t.failure_mode.name}`}</span></td>
                      <td><a href={`/fleet/${t.asset.id}`}>{t.asset.name}</a><span class="sub">{t.site.name}</span></td>
                      <td><PriorityTag priority={t.priority} /></td>
                      <td><TicketState status={t.status} /></td>
                      <td data-label="Assigned to">{t.assignee?.name ?? <span class="muted">nobody</span>}</td>
                      <td class="small" data-label="Due"><Time at={t.due_at} zone={zone} />{over && <span class="sub"><Tag shape="triangle" tone="watch">overdue</Tag></span>}</td>
                      <td class="small" data-label="Made"><Time at={t.created_at} zone={zone} /></td>
                    </tr>
                  );
                })}</tbody>
              </table></div>
              <More list={list} />
            </>
          )}
        </Fetched>
      </section>
    </>
  );
}
