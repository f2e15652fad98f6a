// One ticket: where it stands, what may come next and what is missing for it, its tasks and its story.

import { useState } from 'preact/hooks';
import { post } from '../api/client';
import { invalidate, useQuery } from '../api/query';
import { may, session } from '../api/session';
import { useZones } from '../api/zones';
import type { Asset, Task, TicketDetail, Transition } from '../api/types';
import type { Page } from '../lib/paging';
import { num, quantity, words } from '../lib/format';
import { unitText } from '../lib/unit';
import { Dialog, Head, Loading, PriorityTag, Problem, Tag, TicketState, Time, Timeline, toast, useAction, who } from '../ui/parts';
import { ShapeMark } from '../ui/icons';
import { useTitle } from '../ui/title';
import { DecisionList } from './asset';

const changed = () => invalidate('/v1/tickets', '/v1/overview', '/v1/cases', '/v1/assets');

export function TicketPage({ params }: { params: Record<string, string> }) {
  const path = `/v1/tickets/${encodeURIComponent(params['id'] ?? '')}`;
  const found = useQuery<TicketDetail>(path, 15_000);
  const t = found.data;
  const zoneOf = useZones();
  useTitle(t ? `#${t.number} ${t.title}` : 'Ticket');
  if (!t) return found.error ? <><Head title="Ticket" /><Problem error={found.error} retry={found.refresh} /></> : <Loading rows={6} />;
  const zone = t.site.time_zone ?? zoneOf(t.asset);
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
            <div class="body">{t.tasks.length === 0 ? <p class="muted">No tasks are written down for this ticket.</p> : <ul class="tasks">{t.tasks.map((task) => <TaskRow key={task.id} task={task} t={t} path={path} zone={zone} />)}</ul>}</div>
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
              {t.scheduled_start && <><dt>Scheduled</dt><dd><Time at={t.scheduled_start} zone={zone} /> to <Time at={t.scheduled_end} zone={zone} /></dd></>}
              {t.outcome && <><dt>Outcome</dt><dd>{OUTCOMES[t.outcome] ?? words(t.outcome)}</dd></>}
              {t.cause && <><dt>Cause</dt><dd>{t.cause}</dd></>}
              {t.remedy && <><dt>Remedy</dt><dd>{t.remedy}</dd></>}
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
  in_progress: 'Start work', on_hold: 'Put on hold', completed: 'Complete', closed: 'Close', cancelled: 'Cancel ticket', open: 'Open',
};
const verb = (to: string, from: string): string => (from === 'completed' && to === 'in_progress' ? 'Reopen' : from === 'on_hold' && to === 'in_progress' ? 'Go on' : VERB[to] ?? words(to));

/** What is missing but can be said together with the step itself. Anything else has to happen first. */
const ASKABLE = new Set(['reason.missing', 'assignee.missing', 'schedule.missing', 'coding.failure_mode', 'coding.cause', 'coding.remedy', 'outcome.missing']);

/** Whether the step can be taken now, by a click alone or with a few words. */
export function stepState(x: Transition): 'go' | 'ask' | 'blocked' {
  if (x.missing.some((m) => !ASKABLE.has(m.code))) return 'blocked';
  if (x.missing.length > 0) return 'ask';
  return x.allowed ? 'go' : 'blocked';
}

function Transitions({ t, path }: { t: TicketDetail; path: string }) {
  const found = useQuery<Transition[] | Page<Transition>>(`${path}/transitions`);
  const action = useAction();
  const [asking, setAsking] = useState<Transition | null>(null);
  const list = Array.isArray(found.data) ? found.data : found.data?.data ?? [];
  const go = (to: string, extra: Record<string, string> = {}) =>
    action.run(() => post(`${path}/transitions`, { to, ...extra }, t.row_version), `Now ${words(to).toLowerCase()}`).then((ok) => { changed(); found.refresh(); return ok; });
  const open = list.filter((x) => stepState(x) !== 'blocked');
  const blocked = list.filter((x) => stepState(x) === 'blocked');
  return (
    <section class="card" aria-labelledby="h-next"><header><h2 id="h-next">Next step</h2></header><div class="body stack">
      {found.error && <Problem error={found.error} retry={found.refresh} />}
      {action.error && <Problem error={action.error} />}
      {found.data && list.length === 0 && <p class="muted">This ticket is finished: no step is left.</p>}
      {open.length > 0 && may('tickets:write') && (
        <div class="row">{open.map((x, i) => (
          <button key={x.to} type="button" class={`btn${i === 0 && x.to !== 'cancelled' ? ' primary' : x.to === 'cancelled' ? ' quiet' : ''}`} disabled={action.busy}
            onClick={() => (stepState(x) === 'ask' ? setAsking(x) : void go(x.to))}>{verb(x.to, t.status)}{stepState(x) === 'ask' && ' …'}</button>
        ))}</div>
      )}
      {blocked.length > 0 && (
        <div><h3>Not yet possible</h3><dl class="kv">{blocked.map((x) => (
          <div key={x.to} class="contents"><dt>{verb(x.to, t.status)}</dt><dd>{x.missing.length ? x.missing.map((m) => <span key={m.detail} class="miss"><ShapeMark shape="dashed" size={10} /> {m.detail}</span>) : 'not from here'}</dd></div>
        ))}</dl></div>
      )}
      {asking && <TransitionDialog step={asking} t={t} busy={action.busy} onClose={() => setAsking(null)} onGo={(extra) => go(asking.to, extra).then((ok) => { if (ok) setAsking(null); })} />}
    </div></section>
  );
}

const OUTCOMES: Record<string, string> = {
  confirmed_prevented: 'Damage found before it failed',
  confirmed_failed: 'It had failed',
  different_fault_found: 'Something else was wrong',
  no_fault_found: 'No fault found',
  inconclusive: 'Inconclusive',
};

function TransitionDialog({ step, t, busy, onClose, onGo }: { step: Transition; t: TicketDetail; busy: boolean; onClose: () => void; onGo: (extra: Record<string, string>) => void }) {
  const [form, setForm] = useState<Record<string, string>>({});
  const asks = (code: string): boolean => step.missing.some((m) => m.code === code);
  const coding = step.missing.some((m) => m.code.startsWith('coding.') || m.code.startsWith('outcome.'));
  // The failure modes that fit the asset's class.
  const asset = useQuery<Asset>(coding ? `/v1/assets/${t.asset.id}` : null);
  const set = (name: string) => (e: { currentTarget: { value: string } }) => setForm({ ...form, [name]: e.currentTarget.value });
  const field = (name: string) => ({ value: form[name] ?? '', onInput: set(name) });
  const none = form['outcome'] === 'no_fault_found' || form['outcome'] === 'inconclusive';
  const me = session()?.user;
  const submit = (e: Event) => {
    e.preventDefault();
    const extra = Object.fromEntries(Object.entries(form).filter(([, v]) => v.trim() !== ''));
    for (const name of ['scheduled_start', 'scheduled_end']) if (extra[name]) extra[name] = new Date(extra[name]).toISOString();
    if (asks('assignee.missing') && me) extra['assignee_id'] = me.id;
    onGo(extra);
  };
  return (
    <Dialog title={verb(step.to, t.status)} onClose={onClose}>
      <form class="stack" onSubmit={submit}>
        {asks('assignee.missing') && <p>It will be assigned to you, {me?.name}.</p>}
        {asks('schedule.missing') && (
          <>
            <label class="field"><span>Start <span class="hint">(your own zone)</span></span><input type="datetime-local" required {...field('scheduled_start')} /></label>
            <label class="field"><span>End <span class="hint">(your own zone)</span></span><input type="datetime-local" required min={form['scheduled_start']} {...field('scheduled_end')} /></label>
          </>
        )}
        {coding && (
          <>
            <p class="soft">What was found teaches the models.</p>
            <label class="field"><span>Outcome</span><select required value={form['outcome'] ?? ''} onChange={set('outcome')}><option value="">Choose</option>{Object.entries(OUTCOMES).map(([value, text]) => <option key={value} value={value}>{text}</option>)}</select></label>
            {asks('coding.failure_mode') && !none && (
              <label class="field"><span>Failure mode found</span><select required value={form['found_failure_mode_id'] ?? ''} onChange={set('found_failure_mode_id')}><option value="">Choose</option>{(asset.data?.failure_modes ?? []).map((m) => <option key={m.id} value={m.id}>{m.name}</option>)}</select></label>
            )}
            {asks('coding.cause') && <label class="field"><span>Cause</span><input type="text" required={!none} {...field('cause')} /></label>}
            {asks('coding.remedy') && <label class="field"><span>What was done</span><textarea required={!none} {...field('remedy')} /></label>}
          </>
        )}
        {asks('reason.missing') && <label class="field"><span>Reason</span><textarea required {...field('reason')} /></label>}
        <div class="actions"><button type="button" class="btn quiet" onClick={onClose}>Back</button><button type="submit" class="btn primary" disabled={busy}>{verb(step.to, t.status)}</button></div>
      </form>
    </Dialog>
  );
}

function TaskRow({ task, t, path, zone }: { task: Task; t: TicketDetail; path: string; zone: string }) {
  const action = useAction();
  const [value, setValue] = useState('');
  const numeric = task.kind === 'number' || task.kind === 'meter';
  const finish = (e: Event) => {
    e.preventDefault();
    const number = Number(value.replace(',', '.'));
    if (numeric && !Number.isFinite(number)) {
      toast(`“${value}” is not a number.`, true);
      return;
    }
    const result = numeric ? number : task.kind === 'check' ? true : value;
    void action.run(() => post(`${path}/tasks/${task.id}/done`, { result }, t.row_version), 'Done').then(changed);
  };
  const limits = [task.min_value != null ? `from ${num(task.min_value)}` : '', task.max_value != null ? `to ${num(task.max_value)}` : ''].filter(Boolean).join(' ');
  return (
    <li>
      <div class="row between">
        <span class="grow"><ShapeMarkRow done={Boolean(task.done_at)} /> {task.text}{!task.mandatory && <span class="muted small"> (optional)</span>}
          <span class="sub small muted">{task.done_at ? <>done <Time at={task.done_at} zone={zone} /> by {who(task.done_by)}{resultText(task)}</> : <>{words(task.kind).toLowerCase()}{limits && `, ${limits} ${unitText(task.unit)}`}</>}</span>
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
  if (typeof task.result === 'number') return `: ${quantity(task.result, task.unit)}`;
  return typeof task.result === 'string' && task.result ? `: ${task.result}` : '';
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
