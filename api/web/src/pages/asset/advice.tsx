// What to do, what it was compared with, and between what it stays the cheapest.

import type { Advice, AdviceOption } from '../../api/types';
import { bounds, num, probability, span, words } from '../../lib/format';
import { Time } from '../../ui/parts';

const ACTION: Record<string, string> = {
  none: 'Nothing to do', watch: 'Keep an eye on it', plan: 'Plan the work', now: 'Act now',
  next_stop: 'At the next planned stop', date: 'At a date', run_to_failure: 'Run to failure',
};
const OPTION: Record<string, string> = { now: 'Now', next_stop: 'Next planned stop', date: 'At a date', run_to_failure: 'Run to failure' };
const CALM = new Set(['none', 'run_to_failure']);
const named = (action: string): string => (ACTION[action] ?? words(action)).toLowerCase();

export function AdviceBox({ advice, zone }: { advice: Advice; zone: string }) {
  if (!advice?.text && !advice?.action) return null;
  const { action } = advice;
  const [choice] = advice.options ?? [];
  return (
    <div class={`advice${action === 'now' ? ' urgent' : action && CALM.has(action) ? ' calm' : ''}`}>
      <p>{action && <b class="strong">{ACTION[action] ?? words(action)}. </b>}{advice.text}</p>
      {(advice.at || advice.by || advice.cost_of_waiting != null) && (
        <p class="small soft">
          {advice.at && <>On <Time at={advice.at} zone={zone} />. </>}
          {advice.by && <>Before <Time at={advice.by} zone={zone} />. </>}
          {advice.cost_of_waiting != null && <>Expected cost of failing within 30 days {num(advice.cost_of_waiting)}{advice.cost_of_acting != null && <>, of planned work {num(advice.cost_of_acting)}</>}.</>}
        </p>
      )}
      {choice && <Compared advice={advice} zone={zone} />}
    </div>
  );
}

/** Expected costs beside each other on one scale, with what they are at the ends of the probability's interval. */
function Compared({ advice, zone }: { advice: Advice; zone: string }) {
  const options = advice.options ?? [];
  const most = Math.max(...options.map((o) => Math.max(o.cost, o.cost_high)), 1e-9);
  const { action_low: low, action_high: high } = advice;
  return (
    <details>
      <summary>What was compared</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="Compared costs">
        <table class="compact">
          <thead><tr><th>Choice</th><th class="num">Expected cost{advice.span_h != null && <> over {span(advice.span_h * 3600)}</>}</th></tr></thead>
          <tbody>
            {options.map((o, i) => (
              <tr key={`${o.action}${o.at ?? ''}`}>
                <td>{i === 0 ? <b class="strong">{OPTION[o.action] ?? words(o.action)}</b> : OPTION[o.action] ?? words(o.action)}{o.at && <span class="sub"><Time at={o.at} zone={zone} /></span>}{o.p_before != null && <span class="sub">fails before: {probability(o.p_before)}</span>}</td>
                <td class="num">{num(o.cost)}<Cost option={o} most={most} /><span class="sub">{num(Math.min(o.cost_low, o.cost_high))} to {num(Math.max(o.cost_low, o.cost_high))}</span></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {advice.cheapest_from && advice.runner_up && (
        <p class="small">Cheaper than {named(advice.runner_up)} {advice.cheapest_to
          ? <>from <Time at={advice.cheapest_from} zone={zone} /> to <Time at={advice.cheapest_to} zone={zone} />.</>
          : <>from <Time at={advice.cheapest_from} zone={zone} /> on, however late.</>}</p>
      )}
      {(advice.p_from != null || advice.p_to != null) && (
        <p class="small">The cheapest while the probability of failing within 30 days is {advice.p_from == null
          ? `below ${probability(advice.p_to)}`
          : advice.p_to == null ? `above ${probability(advice.p_from)}` : bounds(advice.p_from, advice.p_to)}.</p>
      )}
      {(low || high) && (
        <p class="small"><b class="strong">Uncertain.</b> {low && <>At the low end of the probability: {named(low)}. </>}{high && <>At the high end: {named(high)}.</>}</p>
      )}
    </details>
  );
}

function Cost({ option, most }: { option: AdviceOption; most: number }) {
  const x = (cost: number): number => Math.min(1, Math.max(0, cost / most)) * 198;
  const [from, to] = [x(Math.min(option.cost_low, option.cost_high)), x(Math.max(option.cost_low, option.cost_high))];
  return (
    <svg viewBox="0 0 200 10" height="10" width="100%" preserveAspectRatio="none" aria-hidden="true" focusable="false">
      <rect width="200" height="10" fill="var(--sunk)" />
      <rect width={Math.max(1, x(option.cost))} y="2" height="6" fill="var(--line-strong)" />
      <rect x={from} y="4" width={Math.max(2, to - from)} height="2" fill="var(--ink-3)" />
    </svg>
  );
}
