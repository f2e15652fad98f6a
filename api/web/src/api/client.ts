// Every request of the pages goes through here.

import { span } from '../lib/format';
import { session, setSession } from './session';
import type { ProblemBody, Session } from './types';

/** A refusal (problem+json) or a failure to reach the server (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: ProblemBody,
    /** Seconds after which it makes sense to try again, if the server said so. */
    readonly retryAfter?: number,
  ) {
    super(problem.detail ?? problem.title ?? `The server answered ${status}.`);
  }

  /** What the person can do about it, where the status alone tells. */
  get remedy(): string {
    switch (this.status) {
      case 0: return 'Check the connection to the server; this page tries again by itself.';
      case 401: return 'Sign in again.';
      case 403: return 'Ask a tenant administrator for a role that allows it.';
      case 404: return 'It may have been removed, or belong to another tenant: check the tenant in the header.';
      case 409: return 'Somebody else may have done it already: reload and look.';
      case 412: return 'It has changed since this page was loaded. The newest state is shown now; try again if it still applies.';
      case 422: return 'Correct the marked entries and send again.';
      case 428: return 'Reload the page and try again.';
      case 429: return this.retryAfter ? `Try again in ${span(this.retryAfter)}.` : 'Wait a little, then try again.';
      default: return this.status >= 500 ? 'The fault is the server’s. Try again; if it stays, give the trace id to whoever runs it.' : '';
    }
  }
}

interface Options {
  method?: string;
  body?: unknown;
  /** Row version the change is based on; sent as If-Match. */
  version?: number | undefined;
  signal?: AbortSignal;
}

let onUnauthorised: () => void = () => undefined;

/** Called once the token is refused, so that the shell can show the sign-in page with a way back. */
export function whenUnauthorised(then: () => void): void {
  onUnauthorised = then;
}

/** The token is no longer good. */
export function whenGone(): void {
  onUnauthorised();
}

/** One JSON request. Throws `ApiError`; an aborted one throws the browser's AbortError. */
export async function request<T>(path: string, options: Options = {}): Promise<T> {
  const method = options.method ?? 'GET';
  const headers: Record<string, string> = { accept: 'application/json' };
  const token = session()?.token;
  if (token) headers['authorization'] = `Bearer ${token}`;
  if (options.body !== undefined) headers['content-type'] = 'application/json';
  if (options.version !== undefined) headers['if-match'] = `"v${options.version}"`;
  if (method === 'POST') headers['idempotency-key'] = uuid();

  let response: Response;
  const init: RequestInit = { method, headers, cache: 'no-store', credentials: 'omit' };
  if (options.body !== undefined) init.body = JSON.stringify(options.body);
  if (options.signal) init.signal = options.signal;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    // The same key again, so that a request whose answer was lost on the way is not carried out twice.
    if (method === 'POST') {
      try {
        response = await fetch(path, init);
      } catch {
        throw unreachable();
      }
    } else {
      throw unreachable();
    }
  }
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  let body: unknown;
  try {
    body = text ? JSON.parse(text) : undefined;
  } catch {
    body = undefined;
  }
  if (!response.ok) {
    if (response.status === 401 && token) onUnauthorised();
    throw new ApiError(response.status, (body as ProblemBody | undefined) ?? { title: response.statusText || `Status ${response.status}` }, Number(response.headers.get('retry-after')) || undefined);
  }
  return body as T;
}

function unreachable(): ApiError {
  return new ApiError(0, { title: 'The server cannot be reached', detail: 'The server cannot be reached.' });
}

export const get = <T>(path: string, signal?: AbortSignal): Promise<T> => request<T>(path, signal ? { signal } : {});

export const post = <T>(path: string, body: unknown = {}, version?: number): Promise<T> =>
  request<T>(path, { method: 'POST', body, version });

export const patch = <T>(path: string, body: unknown, version: number): Promise<T> =>
  request<T>(path, { method: 'PATCH', body, version });

export async function signIn(email: string, password: string, stay: boolean): Promise<Session> {
  const next = await post<Session>('/v1/sign-in', { email, password });
  setSession(next, stay);
  return next;
}

/** A token for another tenant of the same person. */
export async function switchTenant(tenant: string): Promise<Session> {
  const next = await post<Session>('/v1/switch-tenant', { tenant });
  setSession(next);
  return next;
}

const REFRESH_BEFORE_MS = 10 * 60_000;

/** Renews the token shortly before it ends, while the page is in use. */
export function keepFresh(): () => void {
  const timer = setInterval(() => {
    const now = session();
    if (!now || document.hidden) return;
    const left = new Date(now.expires_at).getTime() - Date.now();
    // A refusal already leads to the sign-in page; a lost connection is tried again in a minute.
    if (left < REFRESH_BEFORE_MS) post<Session>('/v1/refresh').then((next) => setSession(next), () => undefined);
  }, 60_000);
  return () => clearInterval(timer);
}

/** crypto.randomUUID exists only on https and localhost; a plant's server may well be plain http on a LAN. */
function uuid(): string {
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID();
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = (b[6]! & 0x0f) | 0x40;
  b[8] = (b[8]! & 0x3f) | 0x80;
  const hex = Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
