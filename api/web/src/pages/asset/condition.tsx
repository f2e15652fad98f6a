// Health with what lowers it, and what is to be expected.

import { useNow, type Result } from '../../api/query';
import type { Asset, Assessment, FactorDetail, FailureProbability, Rul } from '../../api/types';
import { interval, life, num, percent, plural, span, words } from '../../lib/format';
import { band, BAND_TEXT, GOOD_FROM, POOR_BELOW, waterfall, type Step } from '../../lib/health';
import { unitText } from '../../lib/unit';
import { relative } from '../../lib/time';
import { AdviceBox } from './advice';
import { BAND_MARK, Empty, Loading, Problem, Range, Tag, Time } from '../../ui/parts';

/** A quiet arc: grey ground, ticks at the limits of the bands, and the value as arc, number and word. */
export function Gauge({ value, stale }: { value: number; stale: boolean }) {
  const b = band(value);
  const at = (v: number, r: number): string => {
    const angle = Math.PI * (1.11 - 1.22 * Math.min(1, Math.max(0, v / 100)));
    return `${(100 + r * Math.cos(angle)).toFixed(2)} ${(100 - r * Math.sin(angle)).toFixed(2)}`;
  };
  const arc = (from: number, to: number, r: number): string => `M${at(from, r)}A${r} ${r} 0 ${to - from > 82 ? 1 : 0} 1 ${at(to, r)}`;
  const fill = stale ? 'var(--mark)' : b === 'good' ? 'var(--accent)' : `var(--${b}-fill)`;
  return (
    <svg viewBox="0 0 200 136" role="img" aria-label={`Health ${Math.round(value)} of 100: ${stale ? 'stale' : BAND_TEXT[b]}`}>
      <path d={arc(0, 100, 84)} stroke="var(--sunk)" stroke-width="13" fill="none" />
      {value > 0.5 && <path d={arc(0, value, 84)} stroke={fill} stroke-width="13" fill="none" />}
      {[POOR_BELOW, GOOD_FROM].map((v) => <path key={v} d={`M${at(v, 74)}L${at(v, 94)}`} stroke="var(--surface)" stroke-width="3" />)}
      <text x="100" y="100" text-anchor="middle" font-size="50" font-weight="600" letter-spacing="-1.500" fill="var(--ink)">{Math.round(value)}</text>
      <text x="100" y="120" text-anchor="middle" font-size="12.500" fill="var(--ink-3)">of 100</text>
    </svg>
  );
}

export function HealthCard({ asset, assessment }: { asset: Asset; assessment: Result<Assessment> }) {
  const now = useNow();
  const zone = asset.site.time_zone;
  const a = assessment.data;
  const stale = asset.health?.stale ?? false;
  return (
    <section class="card" aria-labelledby="h-health">
      <header><h2 id="h-health">Health</h2>{a && <span class="small muted end">assessed {relative(a.assessed_at, now)}, data to <Time at={a.window_end} zone={zone} /></span>}</header>
      {assessment.loading && <Loading />}
      {assessment.error && (assessment.error.status === 404
        ? <Empty title="Not assessed yet"><p>The first assessment comes once enough readings have arrived to know what is normal for this asset. Until then nothing is said about its health, good or bad.</p></Empty>
        : <div class="body"><Problem error={assessment.error} retry={assessment.refresh} /></div>)}
      {a && (
        <div class="health-card">
          <div class="gauge">
            <Gauge value={a.health} stale={stale} />
            <p><Tag {...(stale ? { shape: 'dashed' as const } : BAND_MARK[band(a.health)])}>{stale ? `Stale: last data ${relative(a.window_end, now)}` : BAND_TEXT[band(a.health)]}</Tag></p>
            <p class="small muted">{percent(a.coverage)} of the expected readings, newest {span(a.freshness_s)} old</p>
          </div>
          <Steps health={a.health} factors={a.factors} />
        </div>
      )}
    </section>
  );
}

/** From 100 down to the health index: each bar begins where the one before it ended. */
function Steps({ health, factors }: { health: number; factors: FactorDetail[] }) {
  const { steps, rest } = waterfall(health, factors);
  if (steps.length === 0) {
    return <div><h3>Nothing lowers it</h3><p class="soft">Every measured value lies where the model expects it.</p></div>;
  }
  const lost = 100 - health;
  // The largest explain; a long tail of small ones would hide them.
  const shown = steps.filter((s, i) => i < 5 && (i < 2 || s.factor.penalty >= 1));
  const small = steps.slice(shown.length);
  return (
    <div>
      <h3>What takes {num(lost, 3)} points from 100</h3>
      <ul class="steps">
        {shown.map((s) => <StepRow key={s.factor.name} step={s} />)}
        {small.length > 0 && <li><div class="line"><span class="soft">{plural(small.length, 'smaller factor')}: {small.map((s) => words(s.factor.name).toLowerCase()).join(', ')}</span><b class="nowrap">−{num(small.reduce((sum, s) => sum + s.factor.penalty, 0), 3)}</b></div></li>}
        {rest !== 0 && <li><div class="line"><span class="soft">{rest > 0 ? 'Everything else together' : 'Bounded at 0'}</span><b>{rest > 0 ? '−' : '+'}{num(Math.abs(rest), 3)}</b></div></li>}
        <li><div class="line"><b>Health</b><b>{num(health, 3)}</b></div></li>
      </ul>
    </div>
  );
}

function StepRow({ step }: { step: Step<FactorDetail> }) {
  const f = step.factor;
  const fill = f.penalty >= 15 ? 'var(--poor-fill)' : f.penalty >= 5 ? 'var(--watch-fill)' : 'var(--line-strong)';
  const unit = unitText(f.unit);
  return (
    <li>
      <div class="line"><b>{words(f.name)}</b><b class="nowrap">−{num(f.penalty, 3)}</b></div>
      <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
        <rect width="100" height="10" fill="var(--sunk)" />
        <rect x={step.to} width={Math.max(0.6, step.from - step.to)} height="10" fill={fill} />
      </svg>
      <p class="why">{f.text}</p>
      {f.value != null && f.expected != null && <p class="small muted">Measured {num(f.value)}{unit && ` ${unit}`}, expected {num(f.expected)}{unit && ` ${unit}`}</p>}
    </li>
  );
}

const HORIZON = (h: number): string => (h < 48 ? `${h} h` : `${Math.round(h / 24)} d`);

export function OutlookCard({ zone, assessment }: { zone: string; assessment: Result<Assessment> }) {
  const a = assessment.data;
  if (!a) return <section class="card" aria-labelledby="h-outlook"><header><h2 id="h-outlook">Outlook</h2></header>{assessment.loading ? <Loading /> : <Empty title="No outlook without an assessment" />}</section>;
  // One basis for all horizons is the rule: say it once then.
  const oneBasis = new Set(a.p_fail.map((p) => p.basis)).size <= 1;
  return (
    <section class="card" aria-labelledby="h-outlook">
      <header><h2 id="h-outlook">Outlook</h2>{a.failure_mode && <span class="small soft">likeliest: <b class="strong">{a.failure_mode.name}</b></span>}</header>
      <div class="body stack">
        <AdviceBox advice={a.advice} zone={zone} />
        {a.p_fail.length > 0 ? (
          <div>
            <h3>Probability of failing within</h3>
            <div class="prob">
              {[...a.p_fail].sort((x, y) => x.horizon_h - y.horizon_h).map((p) => (
                <div key={p.horizon_h} class="contents">
                  <span>{HORIZON(p.horizon_h)}</span>
                  <Range p={p.p} low={p.low} high={p.high} />
                  <b class="strong nowrap">{interval(p.p, p.low, p.high)}</b>
                  {!oneBasis && <span class="basis">{p.basis}</span>}
                </div>
              ))}
            </div>
            {oneBasis && a.p_fail[0]?.basis && <p class="small muted">{sentenceOf(a.p_fail[0].basis)}</p>}
          </div>
        ) : <p class="muted">No failure probability: see the notes.</p>}
        <ModeTable all={a.p_fail} />
        <div class="rul">
          <h3>Remaining useful life</h3>
          {a.rul?.p50_h === 0 ? <p>Used up: a limit is passed.</p> : a.rul?.p10_h != null ? <><p>{life(a.rul)}{a.rul.p50_h != null && <span class="soft">, middle {span(a.rul.p50_h * 3600)}</span>}</p><LifeBar rul={a.rul} /></> : <p class="muted">Not known</p>}
        </div>
        {a.notes.length > 0 && <ul class="notes">{a.notes.map((n) => <li key={n}>{n}</li>)}</ul>}
        <p class="small muted">Model {a.model.name} {a.model.version}, window from <Time at={a.window_start} zone={zone} /></p>
      </div>
    </section>
  );
}

/** Which way to fail each probability is due to. The parts of a column add up to it. */
function ModeTable({ all }: { all: FailureProbability[] }) {
  const horizons = [...all].sort((x, y) => x.horizon_h - y.horizon_h);
  const longest = horizons[horizons.length - 1]?.modes ?? [];
  if (longest.length === 0) return null;
  return (
    <div>
      <h3>By the way it fails</h3>
      <div class="scroll" tabIndex={0} role="region" aria-label="Failure probability by the way it fails">
        <table class="compact">
          <thead><tr><th>Failure mode</th>{horizons.map((h) => <th key={h.horizon_h} class="num">{HORIZON(h.horizon_h)}</th>)}</tr></thead>
          <tbody>
            {longest.map((mode) => (
              <tr key={mode.failure_mode_id ?? ''}>
                <td>{mode.name}<span class="sub">{mode.basis}</span></td>
                {horizons.map((h) => {
                  const part = h.modes?.find((m) => (m.failure_mode_id ?? null) === (mode.failure_mode_id ?? null));
                  return <td key={h.horizon_h} class="num">{part ? interval(part.p, part.low, part.high) : '–'}</td>;
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

function sentenceOf(basis: string): string {
  const text = basis.includes('_') && !basis.includes(' ') ? words(basis) : basis;
  return `Basis: ${text}${text.endsWith('.') ? '' : '.'}`;
}

/** p10 to p90 on a line that begins now. An unknown end is an arrow out of the picture. */
function LifeBar({ rul }: { rul: Rul }) {
  const p10 = rul.p10_h ?? 0;
  const p50 = rul.p50_h ?? null;
  const p90 = rul.p90_h ?? null;
  const end = Math.max(p90 ?? 0, (p50 ?? p10) * 1.6, p10 * 2, 1) * (p90 == null ? 1 : 1.08);
  const x = (h: number): number => 8 + (Math.min(h, end) / end) * 376;
  const right = p90 == null ? 392 : x(p90);
  return (
    <svg viewBox="0 0 400 54" role="img" aria-label={`Remaining life ${life(rul)}`}>
      <path d="M8 22H392" stroke="var(--line)" stroke-width="2" />
      <path d="M8 14v16" stroke="var(--ink-3)" stroke-width="2" />
      <rect x={x(p10)} y="14" width={Math.max(3, right - x(p10))} height="16" rx="3" fill="var(--accent)" opacity="0.220" />
      {p90 == null && <path d="M384 16l8 6-8 6" fill="none" stroke="var(--accent)" stroke-width="2" />}
      {p50 != null && p50 <= end && <rect x={x(p50) - 1.5} y="10" width="3" height="24" rx="1" fill="var(--accent)" />}
      <g font-size="12" fill="var(--ink-3)">
        <text x="8" y="49">now</text>
        {x(p10) > 56 && <text x={x(p10)} y="49" text-anchor="middle">{span(p10 * 3600)}</text>}
        {p50 != null && x(p50) - x(p10) > 62 && <text x={x(p50)} y="49" text-anchor="middle">{span(p50 * 3600)}</text>}
        {p90 != null ? (x(p90) - x(p50 ?? p10) > 62 && <text x={Math.min(x(p90), 372)} y="49" text-anchor="middle">{span(p90 * 3600)}</text>) : <text x="392" y="49" text-anchor="end">beyond</text>}
      </g>
    </svg>
  );
}
