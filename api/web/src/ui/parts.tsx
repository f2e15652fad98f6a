// Small pieces that every page uses.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ApiError } from '../api/client';
import type { Alarm, AssetStatus, HistoryEvent, Level, Severity, TicketStatus } from '../api/types';
import { useNow, type ListResult, type Result } from '../api/query';
import { session } from '../api/session';
import { num, percent, words } from '../lib/format';
import { band, BAND_TEXT, GOOD_FROM, POOR_BELOW, type Band } from '../lib/health';
import { localZone, moment, relative } from '../lib/time';
import { ShapeMark, type Shape } from './icons';

type Tone = 'none' | 'watch' | 'poor';

export function Tag({ shape, tone = 'none', children }: { shape: Shape; tone?: Tone; children: ComponentChildren }) {
  return <span class={`tag ${tone}`}><ShapeMark shape={shape} tone={tone} />{children}</span>;
}

export const BAND_MARK: Record<Band, { shape: Shape; tone: Tone }> = {
  good: { shape: 'ring', tone: 'none' },
  watch: { shape: 'triangle', tone: 'watch' },
  poor: { shape: 'diamond', tone: 'poor' },
  none: { shape: 'dashed', tone: 'none' },
};

export const SEVERITY_MARK: Record<Severity, { shape: Shape; tone: Tone }> = {
  info: { shape: 'ring', tone: 'none' },
  warning: { shape: 'triangle', tone: 'watch' },
  serious: { shape: 'diamond', tone: 'poor' },
  critical: { shape: 'square', tone: 'poor' },
};

export function SeverityTag({ severity }: { severity: Severity }) {
  return <Tag {...(SEVERITY_MARK[severity] ?? SEVERITY_MARK.info)}>{words(severity)}</Tag>;
}

export function StatusTag({ status }: { status: AssetStatus }) {
  if (status === 'down') return <Tag shape="square" tone="poor">Down</Tag>;
  if (status === 'maintenance') return <Tag shape="triangle" tone="watch">Maintenance</Tag>;
  return <Tag shape={status === 'operational' ? 'dot' : 'dashed'}>{words(status)}</Tag>;
}

export function PriorityTag({ priority }: { priority: Level }) {
  const mark: Record<Level, { shape: Shape; tone: Tone }> = {
    low: { shape: 'ring', tone: 'none' },
    medium: { shape: 'dot', tone: 'none' },
    high: { shape: 'triangle', tone: 'watch' },
    critical: { shape: 'square', tone: 'poor' },
  };
  return <Tag {...(mark[priority] ?? mark.medium)}>{words(priority)}</Tag>;
}

export function TicketState({ status }: { status: TicketStatus }) {
  const done = status === 'completed' || status === 'closed';
  const shape: Shape = done ? 'check' : status === 'cancelled' ? 'cross' : status === 'in_progress' ? 'dot' : 'ring';
  return <Tag shape={shape}>{words(status)}</Tag>;
}

/** Condition × acknowledgement × suppression in words. */
export function AlarmState({ alarm }: { alarm: Alarm }) {
  const shelved = alarm.suppression !== 'none';
  const tone: Tone = shelved || alarm.condition === 'inactive' ? 'none' : (SEVERITY_MARK[alarm.severity] ?? SEVERITY_MARK.info).tone;
  const shape: Shape = alarm.condition === 'inactive' ? 'check' : alarm.condition === 'pending' ? 'dashed' : 'dot';
  const text = { inactive: 'Returned to normal', pending: 'Pending', active: 'Active', clearing: 'Returning' }[alarm.condition];
  return (
    <span>
      <Tag shape={shape} tone={tone}>{text ?? words(alarm.condition)}</Tag>
      <span class="sub nowrap">
        {alarm.acked_at ? 'Acknowledged' : 'Not acknowledged'}
        {shelved ? ` · ${words(alarm.suppression).toLowerCase()}` : ''}
      </span>
    </span>
  );
}

/** Number + bar + shape + word, so that no one needs the colour. */
export function HealthBar({ value, stale }: { value: number | null | undefined; stale?: boolean }) {
  const b = band(value);
  const mark = BAND_MARK[b];
  const fill = stale || b === 'none' ? 'var(--mark)' : b === 'good' ? 'var(--line-strong)' : `var(--${b}-fill)`;
  return (
    <span class="health">
      <span class="value">{value == null ? '–' : Math.round(value)}</span>
      <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">
        <rect width="100" height="8" fill="var(--sunk)" />
        {value != null && <rect width={Math.max(1, value)} height="8" fill={fill} />}
        <path d={`M${POOR_BELOW} 0v8M${GOOD_FROM} 0v8`} stroke="var(--surface)" stroke-width="1" vector-effect="non-scaling-stroke" />
      </svg>
      <Tag {...(stale ? { shape: 'dashed' as const } : mark)}>{stale ? 'Stale' : BAND_TEXT[b]}</Tag>
    </span>
  );
}

/** A probability as a dot on a range bar, with its interval. */
export function Range({ p, low, high, height = 18 }: { p: number; low: number; high: number; height?: number }) {
  const x = (v: number) => 3 + Math.min(1, Math.max(0, v)) * 194;
  const tone = p >= 0.5 ? 'var(--poor-fill)' : p >= 0.2 ? 'var(--watch-fill)' : 'var(--ink-3)';
  const mid = height / 2;
  return (
    <svg viewBox={`0 0 200 ${height}`} height={height} width="100%" preserveAspectRatio="none" role="img" aria-label={`${percent(p)}, between ${percent(low)} and ${percent(high)}`}>
      <rect x="0" y={mid - 1} width="200" height="2" fill="var(--sunk)" />
      <rect x={x(low)} y={mid - 4} width={Math.max(2, x(high) - x(low))} height="8" rx="2" fill={tone} opacity="0.35" />
      <rect x={x(p) - 1.5} y={mid - 7} width="3" height="14" rx="1" fill={tone} />
    </svg>
  );
}

export function Time({ at, zone, seconds, ago }: { at: string | null | undefined; zone?: string | undefined; seconds?: boolean; ago?: boolean }) {
  const now = useNow(ago ? 10_000 : 60_000);
  if (!at) return <span class="muted">–</span>;
  const exact = moment(at, zone ?? localZone(), now, seconds);
  return <time dateTime={at} title={ago ? exact : relative(at, now)} class="nowrap">{ago ? relative(at, now) : exact}</time>;
}

export function Problem({ error, retry }: { error: ApiError; retry?: (() => void) | undefined }) {
  const { problem } = error;
  return (
    <div class="problem" role="alert">
      <ShapeMark shape="square" tone="poor" size={14} />
      <div class="grow">
        <p class="strong">{problem.title ?? 'That did not work'}</p>
        {problem.detail && problem.detail !== problem.title && <p>{problem.detail}</p>}
        {problem.errors && problem.errors.length > 0 && (
          <ul class="notes">{problem.errors.map((e) => <li key={e.pointer}><code>{e.pointer}</code> {e.detail}</li>)}</ul>
        )}
        {problem.missing && problem.missing.length > 0 && (
          <ul class="notes">{problem.missing.map((m) => <li key={m.code}>{m.detail}</li>)}</ul>
        )}
        {error.remedy && <p class="soft">{error.remedy}</p>}
        {problem.trace_id && <p class="trace">Trace <code>{problem.trace_id}</code></p>}
        {retry && <p><button type="button" class="btn small" onClick={retry}>Try again</button></p>}
      </div>
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="state"><h2>{title}</h2>{children}</div>;
}

export function Loading({ rows = 4, label = 'Loading' }: { rows?: number; label?: string }) {
  return (
    <div class="state" role="status">
      <span class="sr">{label}</span>
      {Array.from({ length: rows }, (_, i) => <p key={i} class="skeleton" style={{ marginBottom: '12px', width: `${92 - ((i * 17) % 40)}%` }} />)}
    </div>
  );
}

/** The three states every fetched thing has besides being there. What is there stays visible when a refresh fails. */
export function Fetched<T>({ of, empty, children, rows }: {
  of: Result<T>;
  empty?: ComponentChildren;
  rows?: number;
  children: (data: T) => ComponentChildren;
}) {
  const none = of.data !== undefined && Array.isArray(of.data) && of.data.length === 0;
  return (
    <>
      {of.error && <Problem error={of.error} retry={of.refresh} />}
      {of.loading && <Loading rows={rows ?? 4} />}
      {none && !of.error && (empty ?? <Empty title="Nothing here" />)}
      {of.data !== undefined && !none && children(of.data)}
    </>
  );
}

export function More({ list }: { list: ListResult<{ id: string }> }) {
  if (!list.more) return null;
  return <p class="state"><button type="button" class="btn" onClick={list.loadMore}>Show more</button></p>;
}

export function Head({ title, children, aside }: { title: string; children?: ComponentChildren; aside?: ComponentChildren }) {
  return (
    <div class="page-head row between">
      <div>
        <h1 tabIndex={-1}>{title}</h1>
        {children && <p class="lede">{children}</p>}
      </div>
      {aside}
    </div>
  );
}

export interface Option { value: string; text: string }

export function Select({ label, value, options, onChange }: { label: string; value: string; options: Option[]; onChange: (v: string) => void }) {
  return (
    <select aria-label={label} value={value} onChange={(e) => onChange(e.currentTarget.value)}>
      {options.map((o) => <option key={o.value} value={o.value}>{o.text}</option>)}
    </select>
  );
}

export function Segments({ label, value, options, onChange, wide }: { label: string; value: string; options: Option[]; onChange: (v: string) => void; wide?: boolean }) {
  return (
    <div class={`seg${wide ? ' wide' : ''}`} role="group" aria-label={label}>
      {options.map((o) => (
        <button key={o.value} type="button" aria-pressed={o.value === value} onClick={() => onChange(o.value)}>{o.text}</button>
      ))}
    </div>
  );
}

/** A modal question. The browser's own <dialog>: focus is kept inside and Escape closes it. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog ref={ref} aria-labelledby="dialog-title" onCancel={(e) => { e.preventDefault(); onClose(); }} onClick={(e) => { if (e.target === ref.current) onClose(); }}>
      <div class="inner"><h2 id="dialog-title">{title}</h2>{children}</div>
    </dialog>
  );
}

export function Timeline({ events, zone }: { events: HistoryEvent[]; zone?: string | undefined }) {
  if (events.length === 0) return <p class="muted">Nothing has happened yet.</p>;
  return (
    <ol class="timeline">
      {events.map((e, i) => (
        <li key={i}>
          <span class="strong">{words(e.kind)}</span>{' '}
          <span class="muted small"><Time at={e.at} zone={zone} seconds /> · {who(e.actor)}</span>
          {detailText(e.detail) && <p class="soft small">{detailText(e.detail)}</p>}
        </li>
      ))}
    </ol>
  );
}

/** Ids of people mean nothing to people, except that one may say "you". */
export function who(actor: string | null | undefined): string {
  if (!actor) return 'nobody';
  if (actor === session()?.user.id) return 'you';
  if (actor.startsWith('usr_')) return `person …${actor.slice(-6)}`;
  if (actor.startsWith('key_')) return `API key …${actor.slice(-6)}`;
  return actor;
}

function detailText(detail: Record<string, unknown> | undefined): string {
  if (!detail) return '';
  if (typeof detail['text'] === 'string') return detail['text'];
  if (typeof detail['comment'] === 'string') return detail['comment'];
  if (typeof detail['from'] === 'string' && typeof detail['to'] === 'string') {
    const reason = typeof detail['reason'] === 'string' && detail['reason'] ? `: ${detail['reason']}` : '';
    return `${words(detail['from'])} → ${words(detail['to']).toLowerCase()}${reason}`;
  }
  return Object.entries(detail)
    .filter(([, v]) => v !== null && v !== '')
    .map(([k, v]) => `${words(k).toLowerCase()}: ${typeof v === 'number' ? num(v) : typeof v === 'string' ? v : JSON.stringify(v)}`)
    .join(' · ');
}

interface Toast { id: number; text: string; bad: boolean }
let toasts: Toast[] = [];
let nextToast = 1;
const toastWatchers = new Set<() => void>();

export function toast(text: string, bad = false): void {
  const item = { id: nextToast++, text, bad };
  toasts = [...toasts.slice(-2), item];
  toastWatchers.forEach((w) => w());
  setTimeout(() => {
    toasts = toasts.filter((t) => t !== item);
    toastWatchers.forEach((w) => w());
  }, bad ? 9000 : 4500);
}

export function Toasts() {
  const [list, set] = useState(toasts);
  useEffect(() => {
    const watcher = () => set(toasts);
    toastWatchers.add(watcher);
    return () => { toastWatchers.delete(watcher); };
  }, []);
  return <div class="toasts" role="status" aria-live="polite">{list.map((t) => <div key={t.id} class={`toast${t.bad ? ' bad' : ''}`}>{t.text}</div>)}</div>;
}

/** Runs an action, tells how it went, and keeps its button from being pressed twice. */
export function useAction(): { busy: boolean; error: ApiError | undefined; run: (what: () => Promise<unknown>, done?: string) => Promise<boolean> } {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError>();
  return {
    busy,
    error,
    run: async (what, done) => {
      if (busy) return false;
      setBusy(true);
      setError(undefined);
      try {
        await what();
        if (done) toast(done);
        return true;
      } catch (e) {
        const failure = e as ApiError;
        setError(failure);
        toast([failure.message, failure.remedy].filter(Boolean).join(' '), true);
        return false;
      } finally {
        setBusy(false);
      }
    },
  };
}
