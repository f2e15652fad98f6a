// The frame around every page: navigation, tenant, live state, shortcuts; and which page an address means.

import type { ComponentType } from 'preact';
import { useEffect, useReducer, useRef, useState } from 'preact/hooks';
import { keepFresh, switchTenant, whenUnauthorised } from './api/client';
import { forgetAll, useQuery } from './api/query';
import { onSession, session, setSession } from './api/session';
import { startStream, useLive } from './api/stream';
import type { Overview } from './api/types';
import { interceptLinks, match, navigate, useLocation } from './router';
import { useKeys, SHORTCUTS } from './ui/keys';
import { useTheme } from './ui/theme';
import { Dialog, Empty, Loading, Problem, Toasts, useAction } from './ui/parts';
import * as I from './ui/icons';
import { FleetPage } from './pages/fleet';
import { SignInPage } from './pages/sign-in';
import { ApiError } from './api/client';

type Params = Record<string, string>;
type PageComponent = ComponentType<{ params: Params }>;
interface Route { pattern: string; title: string; load: () => Promise<PageComponent> | PageComponent }

// Not /assets/:id: there the bundled files are, and a missing file must be a plain 404.
// The fleet and the sign-in come with the first view, everything else when it is needed.
const ROUTES: Route[] = [
  { pattern: '/', title: 'Fleet', load: () => FleetPage },
  { pattern: '/fleet/:id', title: 'Asset', load: () => import('./pages/asset').then((m) => m.AssetPage) },
  { pattern: '/q/:token', title: 'Asset', load: () => import('./pages/qr').then((m) => m.QrPage) },
  { pattern: '/alarms', title: 'Alarms', load: () => import('./pages/alarms').then((m) => m.AlarmsPage) },
  { pattern: '/alarms/:id', title: 'Alarm', load: () => import('./pages/alarms').then((m) => m.AlarmPage) },
  { pattern: '/cases', title: 'Cases', load: () => import('./pages/cases').then((m) => m.CasesPage) },
  { pattern: '/cases/:id', title: 'Case', load: () => import('./pages/cases').then((m) => m.CasePage) },
  { pattern: '/tickets', title: 'Tickets', load: () => import('./pages/tickets').then((m) => m.TicketsPage) },
  { pattern: '/tickets/:id', title: 'Ticket', load: () => import('./pages/ticket').then((m) => m.TicketPage) },
  { pattern: '/predictions', title: 'Predictions', load: () => import('./pages/predictions').then((m) => m.PredictionsPage) },
  { pattern: '/plans', title: 'Maintenance plans', load: () => import('./pages/plans').then((m) => m.PlansPage) },
  { pattern: '/ledger', title: 'Ledger', load: () => import('./pages/ledger').then((m) => m.LedgerPage) },
  { pattern: '/ledger/dead-letters/:id', title: 'Dead letter', load: () => import('./pages/ledger').then((m) => m.DeadLetterPage) },
];

export function App() {
  const [, redraw] = useReducer<number, undefined>((n) => n + 1, 0);
  const where = useLocation();
  useEffect(() => interceptLinks(), []);
  useEffect(() => onSession(() => redraw(undefined)), []);
  useEffect(() => {
    whenUnauthorised(() => setSession(null));
  }, []);
  const now = session();
  useEffect(() => {
    if (!now && where.path !== '/sign-in') {
      const back = location.pathname + location.search;
      navigate(back === '/' ? '/sign-in' : `/sign-in?back=${encodeURIComponent(back)}`, true);
    }
    if (!now) forgetAll();
  }, [now, where.path]);
  if (!now || where.path === '/sign-in') return <><SignInPage /><Toasts /></>;
  return <Shell key={now.tenant.id} path={where.path} />;
}

const NAV = [
  { to: '/', text: 'Fleet', icon: I.FleetIcon },
  { to: '/alarms', text: 'Alarms', icon: I.AlarmIcon },
  { to: '/cases', text: 'Cases', icon: I.CaseIcon },
  { to: '/tickets', text: 'Tickets', icon: I.TicketIcon },
  { to: '/predictions', text: 'Predictions', icon: I.PredictionIcon },
  { to: '/plans', text: 'Plans', icon: I.PlanIcon },
  { to: '/ledger', text: 'Ledger', icon: I.LedgerIcon },
];

function current(to: string, path: string): boolean {
  if (to === '/') return path === '/' || path.startsWith('/fleet/');
  return path === to || path.startsWith(`${to}/`);
}

function Shell({ path }: { path: string }) {
  const [help, setHelp] = useState(false);
  const [more, setMore] = useState(false);
  const overview = useQuery<Overview>('/v1/overview', 15_000);
  useEffect(() => startStream(), []);
  useEffect(() => keepFresh(), []);
  useKeys({
    '?': () => setHelp(true),
    '/': () => document.querySelector<HTMLInputElement>('input[type=search], .filters select')?.focus(),
    'g h': () => navigate('/'),
    'g a': () => navigate('/alarms'),
    'g c': () => navigate('/cases'),
    'g t': () => navigate('/tickets'),
    'g p': () => navigate('/predictions'),
    'g m': () => navigate('/plans'),
    'g l': () => navigate('/ledger'),
  });
  const c = overview.data?.counts;
  const counts: Record<string, { n: number | undefined; hot?: boolean }> = {
    '/alarms': { n: c?.alarms_active, hot: (c?.alarms_unacked ?? 0) > 0 },
    '/cases': { n: c?.cases_open },
    '/tickets': { n: c?.tickets_open },
    '/predictions': { n: c?.predictions_open },
    '/plans': { n: c?.plans_due },
  };
  const link = (item: (typeof NAV)[number]) => {
    const n = counts[item.to];
    return (
      <a key={item.to} href={item.to} aria-current={current(item.to, path) ? 'page' : undefined} onClick={() => setMore(false)}>
        <item.icon />{item.text}
        {n?.n ? <span class={`n${n.hot ? ' hot' : ''}`}>{n.n}<span class="sr">{item.to === '/plans' ? ' due' : item.to === '/alarms' ? ' active' : ' open'}</span></span> : null}
      </a>
    );
  };
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById('main')?.focus(); }}>Skip to the content</a>
      <div class="frame">
        <div class="side"><nav class="side-in" aria-label="Pages">
          <a class="brand" href="/"><I.Mark />Forewarn</a>
          <div class="nav">{NAV.map(link)}</div>
          <p class="side-foot"><a href="/docs">API reference</a><br />Press <span class="kbd">?</span> for shortcuts</p>
        </nav></div>
        <div class="grow">
          <header class="top">
            <a class="brand" href="/" aria-label="Forewarn, fleet"><I.Mark size={28} /></a>
            <TenantSwitch />
            <div class="top-end">
              <LiveMark />
              <ThemeSwitch />
              <button type="button" class="btn quiet icon only-wide" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick={() => setHelp(true)}><I.HelpIcon /></button>
              <button type="button" class="btn quiet icon" aria-label={`Sign out ${session()?.user.name ?? ''}`} title={`Sign out ${session()?.user.email ?? ''}`} onClick={() => { setSession(null); navigate('/sign-in'); }}><I.OutIcon /></button>
            </div>
          </header>
          <main class="main" id="main" tabIndex={-1}><Outlet path={path} /></main>
        </div>
      </div>
      <nav class="bottom" aria-label="Pages, short">
        {NAV.slice(0, 4).map((item) => (
          <a key={item.to} href={item.to} aria-current={current(item.to, path) ? 'page' : undefined} onClick={() => setMore(false)}>
            <item.icon />{item.text}
            {item.to === '/alarms' && c?.alarms_unacked ? <span class="dot">{c.alarms_unacked}<span class="sr"> not acknowledged</span></span> : null}
          </a>
        ))}
        <button type="button" aria-expanded={more} onClick={() => setMore(true)} aria-current={NAV.slice(4).some((i) => current(i.to, path)) ? 'page' : undefined}><I.MoreIcon />More</button>
      </nav>
      {more && (
        <Dialog title="More" onClose={() => setMore(false)}>
          <div class="more-list">{NAV.slice(4).map(link)}<a href="/docs"><I.HelpIcon />API reference</a></div>
          <div class="actions"><button type="button" class="btn" onClick={() => setMore(false)}>Close</button></div>
        </Dialog>
      )}
      {help && (
        <Dialog title="Keyboard shortcuts" onClose={() => setHelp(false)}>
          {SHORTCUTS.map((group) => (
            <section key={group.title}>
              <h3 class="help-head">{group.title}</h3>
              <dl class="kv">
                {group.keys.map(([keys, text]) => (
                  <div key={keys} class="contents">
                    <dt>{keys.split(' ').map((k, i) => (k === '/' && keys.length > 1 ? ' or ' : <span key={i} class="kbd">{k}</span>))}</dt>
                    <dd>{text}</dd>
                  </div>
                ))}
              </dl>
            </section>
          ))}
          <div class="actions"><button type="button" class="btn" onClick={() => setHelp(false)}>Close</button></div>
        </Dialog>
      )}
      <Toasts />
    </>
  );
}

function Outlet({ path }: { path: string }) {
  const found = ROUTES.map((route) => ({ route, params: match(route.pattern, path) })).find((f) => f.params);
  const route = found?.route;
  const [page, setPage] = useState<{ route: Route; component: PageComponent } | { route: Route; error: ApiError } | null>(null);
  const first = useRef(true);
  useEffect(() => {
    if (!route) {
      document.title = 'Not found · Forewarn';
      return;
    }
    document.title = `${route.title} · Forewarn`;
    let left = false;
    Promise.resolve(route.load()).then(
      (component) => { if (!left) setPage({ route, component }); },
      () => { if (!left) setPage({ route, error: new ApiError(0, { title: 'This page could not be loaded', detail: 'The server did not deliver the page’s program; it may have been updated. Reload to get the new one.' }) }); },
    );
    return () => { left = true; };
  }, [route]);
  // A new page begins at its top and its heading takes the focus, as a freshly loaded document would.
  const shown = page && page.route === route ? path : '';
  useEffect(() => {
    if (!shown) return;
    if (first.current) {
      first.current = false;
      return;
    }
    window.scrollTo(0, 0);
    document.querySelector<HTMLElement>('#main h1')?.focus({ preventScroll: true });
  }, [shown]);
  if (!found?.params || !route) {
    return <Empty title="There is no such page"><p>The address <code>{path}</code> leads nowhere. <a href="/">Go to the fleet</a>.</p></Empty>;
  }
  if (!page || page.route !== route) return <Loading rows={6} />;
  if ('error' in page) return <Problem error={page.error} retry={() => location.reload()} />;
  return <page.component key={path} params={found.params} />;
}

function TenantSwitch() {
  const now = session();
  const action = useAction();
  if (!now) return null;
  if (now.tenants.length < 2) return <span class="strong">{now.tenant.name}</span>;
  return (
    <label class="tenant">
      <span class="sr">Tenant</span>
      <select value={now.tenant.slug} disabled={action.busy} onChange={(e) => {
        const slug = e.currentTarget.value;
        void action.run(async () => {
          await switchTenant(slug);
          forgetAll();
          navigate('/');
        });
      }}>
        {[...now.tenants].sort((a, b) => a.name.localeCompare(b.name)).map((t) => <option key={t.id} value={t.slug}>{t.name}</option>)}
      </select>
    </label>
  );
}

function LiveMark() {
  const live = useLive();
  const text = { live: 'Live', connecting: 'Connecting', polling: 'Every 15 s' }[live];
  const title = {
    live: 'Changes appear as they happen',
    connecting: 'Connecting to the live stream',
    polling: 'The live stream is not available: the page asks every 15 seconds',
  }[live];
  return <span class="live" title={title}><I.ShapeMark shape={live === 'live' ? 'dot' : 'dashed'} size={9} /><span class="text">{text}</span><span class="sr">: {title}</span></span>;
}

function ThemeSwitch() {
  const [theme, set] = useTheme();
  const next = { auto: 'light', light: 'dark', dark: 'auto' } as const;
  const text = { auto: 'as the system', light: 'light', dark: 'dark' };
  const Shown = { auto: I.AutoIcon, light: I.SunIcon, dark: I.MoonIcon }[theme];
  return <button type="button" class="btn quiet icon" title={`Colours: ${text[theme]}`} aria-label={`Colours: ${text[theme]}. Change to ${text[next[theme]]}`} onClick={() => set(next[theme])}><Shown /></button>;
}
