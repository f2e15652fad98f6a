// One ticket: where it stands, what may come next and what is missing for it, its tasks and its story.

import { useState } from 'preact/hooks';
import { post } from '../api/client';
import { invalidate, useQuery } from '../api/query';
import { may } from '../api/session';
import type { Task, TicketDetail, Transition } from '../api/types';
import type { Page } from '../lib/paging';
import { num, words } from '../lib/format';
import { unitText } from '../lib/unit';
import { Dialog, Head, Loading, PriorityTag, Problem, Tag, TicketState, Time, Timeline, useAction, who } from '../ui/parts';
import { ShapeMark } from '../ui/icons';
import { useTitle } from '../ui/title';
import { DecisionList } from './asset';

const changed = () => invalidate('/v1/tickets', '/v1/overview', '/v1/cases', '/v1/assets');

export function TicketPage({ params }: { params: Record<string, string> }) {
  const path = `/v1/tickets/${encodeURIComponent(params['id'] ?? '')}`;
  const found = useQuery<TicketDetail>(path, 15_000);
  const t = found.data;
  useTitle(t ? `#${t.number} ${t.title}` : 'Ticket');
  if (!t) return found.error ? <><Head title="Ticket" /><Problem error={found.error} retry={found.refresh} /></> : <Loading rows={6} />;
  const zone = t.site.time_zone;
  return (
    <>
      <p class="crumbs"><a href="/tickets">Tickets</a> / #{t.number}</p>
      <Head title={t.title} aside={<span class="row"><PriorityTag priority={t.priority} /><span class="pill"><TicketState status={t.status} /></span></span>}>
        <a href={`/fleet/${t.asset.id}`}>{t.asset.name}</a> · {t.site.name}
      </Head>
      <div class="grid2">
        <div class="stack">
          <Transitions t={t} path={path} />
          <section class="card" aria-labelledby="h-tasks"><header><h2 id="h-tasks">Tasks</h2><span class="small muted">{t.tasks.filter((x) => x.done_at).length} of {t.tasks.length} done</span></header>
            <div class="body">{t.tasks.length === 0 ? <p class="muted">No tasks are written down for this ticket.</p> : <ul class="tasks">{t.tasks.map((task) => <TaskRow key={task.id} task={task} t={t} path={path} />)}</ul>}</div>
          </section>
          <section class="card" aria-labelledby="h-story"><header><h2 id="h-story">What happened</h2></header><div class="body stack"><Comment path={path} /><Timeline events={[...t.events].reverse()} zone={zone} /></div></section>
        </div>
        <div class="stack">
          <section class="card" aria-labelledby="h-facts"><header><h2 id="h-facts">Facts</h2></header><div class="body stack">
            {t.description && <p class="pre">{t.description}</p>}
            <dl class="kv">
              <dt>Made by</dt><dd>{words(t.origin).toLowerCase()}</dd>
              <dt>Failure mode</dt><dd>{t.failure_mode?.name ?? 'not known'}</dd>
              <dt>Assigned to</dt><dd>{t.assignee?.name ?? 'nobody'}</dd>
              <dt>Due</dt><dd><Time at={t.due_at} zone={zone} /></dd>
              <dt>Made</dt><dd><Time at={t.created_at} zone={zone} /></dd>
              <dt>Last change</dt><dd><Time at={t.updated_at} zone={zone} /></dd>
              {t.status_reason && <><dt>Reason</dt><dd>{t.status_reason}</dd></>}
              {t.case_id && <><dt>Case</dt><dd><a href={`/cases/${t.case_id}`}>Evidence in the case</a></dd></>}
            </dl>
          </div></section>
          {t.decision && <section class="card" aria-labelledby="h-why"><header><h2 id="h-why">Why this ticket was made</h2></header><div class="body"><DecisionList list={[t.decision]} zone={zone} /></div></section>}
        </div>
      </div>
    </>
  );
}

/** The step as a person would say it. */
const VERB: Record<string, string> = {
  accepted: 'Accept', planned: 'Plan', waiting_parts: 'Wait for parts', waiting_window: 'Wait for a window', scheduled: 'Schedule', assigned: 'Assign',
  in_progress: 'Start work', on_hold: 'Put on hold', completed: 'Complete', closed: 'Close', cancelled: 'Cancel ticket', open: 'Reopen',
};
const verb = (to: string): string => VERB[to] ?? words(to);

const REASONED = new Set(['on_hold', 'cancelled']);

function Transitions({ t, path }: { t: TicketDetail; path: string }) {
  const found = useQuery<Transition[] | Page<Transition>>(`${path}/transitions`);
  const action = useAction();
  const [asking, setAsking] = useState<Transition | null>(null);
  const list = Array.isArray(found.data) ? found.data : found.data?.data ?? [];
  const go = (to: string, extra: Record<string, string> = {}) =>
    action.run(() => post(`${path}/transitions`, { to, ...extra }, t.row_version), `Now ${words(to).toLowerCase()}`).then((ok) => { changed(); found.refresh(); return ok; });
  const open = list.filter((x) => x.allowed);
  const blocked = list.filter((x) => !x.allowed);
  return (
    <section class="card" aria-labelledby="h-next"><header><h2 id="h-next">Next step</h2></header><div class="body stack">
      {found.error && <Problem error={found.error} retry={found.refresh} />}
      {action.error && <Problem error={action.error} />}
      {found.data && list.length === 0 && <p class="muted">This ticket is finished: no step is left.</p>}
      {open.length > 0 && may('tickets:write') && (
        <div class="row">{open.map((x, i) => (
          <button key={x.to} type="button" class={`btn${i === 0 && !REASONED.has(x.to) ? ' primary' : ''}`} disabled={action.busy} onClick={() => (REASONED.has(x.to) || x.to === 'completed' ? setAsking(x) : void go(x.to))}>{verb(x.to)}</button>
        ))}</div>
      )}
      {blocked.length > 0 && (
        <div><h3>Not yet possible</h3><dl class="kv missing">{blocked.map((x) => (
          <div key={x.to} class="contents"><dt>{verb(x.to)}</dt><dd>{x.missing.length ? x.missing.map((m) => <span key={m.code} class="miss"><ShapeMark shape="dashed" size={10} /> {m.detail}</span>) : 'not from here'}</dd></div>
        ))}</dl></div>
      )}
      {asking && <TransitionDialog to={asking.to} busy={action.busy} onClose={() => setAsking(null)} onGo={(extra) => go(asking.to, extra).then((ok) => { if (ok) setAsking(null); })} />}
    </div></section>
  );
}

const OUTCOMES = ['confirmed_prevented', 'confirmed_failed', 'different_fault_found', 'no_fault_found', 'inconclusive'];

function TransitionDialog({ to, busy, onClose, onGo }: { to: string; busy: boolean; onClose: () => void; onGo: (extra: Record<string, string>) => void }) {
  const [form, setForm] = useState<Record<string, string>>({});
  const field = (name: string) => ({ value: form[name] ?? '', onInput: (e: { currentTarget: { value: string } }) => setForm({ ...form, [name]: e.currentTarget.value }) });
  const done = to === 'completed';
  return (
    <Dialog title={done ? 'Complete the ticket' : verb(to)} onClose={onClose}>
      <form class="stack" onSubmit={(e) => {
        e.preventDefault();
        onGo(Object.fromEntries(Object.entries(form).filter(([, v]) => v.trim() !== '')));
      }}>
        {done ? (
          <>
            <p class="soft">What was found teaches the models: it becomes a label.</p>
            <label class="field"><span>What was found</span><select required value={form['outcome'] ?? ''} onChange={(e) => setForm({ ...form, outcome: e.currentTarget.value })}><option value="">Choose</option>{OUTCOMES.map((o) => <option key={o} value={o}>{words(o)}</option>)}</select></label>
            <label class="field"><span>Cause <span class="hint">(if known)</span></span><input type="text" {...field('cause')} /></label>
            <label class="field"><span>What was done</span><textarea {...field('remedy')} /></label>
          </>
        ) : <label class="field"><span>Reason</span><textarea required {...field('reason')} /></label>}
        <div class="actions"><button type="button" class="btn quiet" onClick={onClose}>Cancel</button><button type="submit" class="btn primary" disabled={busy}>{verb(to)}</button></div>
      </form>
    </Dialog>
  );
}

function TaskRow({ task, t, path }: { task: Task; t: TicketDetail; path: string }) {
  const action = useAction();
  const [value, setValue] = useState('');
  const numeric = task.kind === 'number' || task.kind === 'meter';
  const finish = (e: Event) => {
    e.preventDefault();
    const result = numeric ? { value: Number(value.replace(',', '.')) } : task.kind === 'check' ? { ok: true } : { text: value };
    void action.run(() => post(`${path}/tasks/${task.id}/done`, { result }, t.row_version), 'Done').then(changed);
  };
  const limits = [task.min_value != null ? `from ${num(task.min_value)}` : '', task.max_value != null ? `to ${num(task.max_value)}` : ''].filter(Boolean).join(' ');
  return (
    <li>
      <div class="row between">
        <span class="grow"><ShapeMarkRow done={Boolean(task.done_at)} /> {task.text}{!task.mandatory && <span class="muted small"> (optional)</span>}
          <span class="sub small muted">{task.done_at ? <>done <Time at={task.done_at} zone={t.site.time_zone} /> by {who(task.done_by)}{resultText(task)}</> : <>{words(task.kind).toLowerCase()}{limits && `, ${limits} ${unitText(task.unit)}`}</>}</span>
        </span>
        {!task.done_at && may('tickets:write') && (
          <form class="row" onSubmit={finish}>
            {task.kind !== 'check' && <input class="short" type="text" inputMode={numeric ? 'decimal' : 'text'} required aria-label={`${task.text}: value${task.unit ? ` in ${unitText(task.unit)}` : ''}`} value={value} onInput={(e) => setValue(e.currentTarget.value)} />}
            <button type="submit" class="btn small" disabled={action.busy} aria-label={`Done: ${task.text}`}>Done</button>
          </form>
        )}
      </div>
    </li>
  );
}

function resultText(task: Task): string {
  const r = task.result as { value?: number; text?: string } | null | undefined;
  if (r?.value != null) return `: ${num(r.value)} ${unitText(task.unit)}`;
  return r?.text ? `: ${r.text}` : '';
}

function ShapeMarkRow({ done }: { done: boolean }) {
  return <span class="inline-mark">{done ? <Tag shape="check"><span class="sr">Done</span></Tag> : <Tag shape="ring"><span class="sr">To do</span></Tag>}</span>;
}

function Comment({ path }: { path: string }) {
  const [text, setText] = useState('');
  const action = useAction();
  if (!may('tickets:write')) return null;
  return (
    <form class="stack" onSubmit={(e) => {
      e.preventDefault();
      void action.run(() => post(`${path}/comments`, { text: text.trim() }), 'Comment added').then((ok) => { if (ok) { setText(''); changed(); } });
    }}>
      <label class="field"><span>Comment</span><textarea required value={text} onInput={(e) => setText(e.currentTarget.value)} /></label>
      <button type="submit" class="btn small" disabled={action.busy || !text.trim()}>Add comment</button>
    </form>
  );
}
