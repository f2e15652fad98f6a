// Maintenance plans: what recurs, how much is to go, when it falls due.

import { useList } from '../api/query';
import { useZones } from '../api/zones';
import type { Plan } from '../api/types';
import { plural, quantity, words } from '../lib/format';
import { Empty, Fetched, Head, More } from '../ui/parts';
import { useTitle } from '../ui/title';
import { DueText, UnitsToGo } from './asset';

export function PlansPage() {
  useTitle('Maintenance plans');
  const zoneOf = useZones();
  const list = useList<Plan>('/v1/plans', 30_000, 100);
  return (
    <>
      <Head title="Maintenance plans">By calendar, by meter, or both: whichever comes first. The due date of a meter plan is an estimate from its recent use, with its interval.</Head>
      <section class="card" aria-label="List of plans">
        <Fetched of={list} rows={6} empty={<Empty title="No plan yet"><p>Plans are set with <code>POST /v1/plans</code>.</p></Empty>}>
          {(plans) => (
            <>
              <div class="scroll"><table class="cards">
                <thead><tr><th>Plan</th><th>Asset</th><th>Every</th><th>To go</th><th>Next due</th></tr></thead>
                <tbody>{[...plans].sort((a, b) => key(a).localeCompare(key(b))).map((p) => (
                  <tr key={p.id} class="hover">
                    <td><span class="strong">{p.name}</span><span class="sub">{words(p.basis).toLowerCase()} interval{!p.enabled && ' · switched off'}</span></td>
                    <td><a href={`/fleet/${p.asset.id}`}>{p.asset.name}</a></td>
                    <td data-label="Every">{[p.every_days ? plural(p.every_days, 'day') : '', p.every_units ? quantity(p.every_units, p.meter?.unit) : ''].filter(Boolean).join(' or ')}</td>
                    <td class="to-go">{p.units_to_go == null ? <span class="muted">by calendar</span> : <UnitsToGo plan={p} />}</td>
                    <td><DueText plan={p} zone={zoneOf(p.asset)} /></td>
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

/** Due now before due later; unknown last. */
function key(p: Plan): string {
  return p.open_occurrence ? `0${p.open_occurrence.due_date}` : `1${p.next_due?.date ?? '9999'}`;
}
