// Cursor pages held together as one list.

export interface Page<T> {
  data: T[];
  next_cursor?: string | null;
  has_more?: boolean;
}

export interface Paged<T> {
  rows: T[];
  cursor: string | null;
  more: boolean;
}

/** Rows of all pages in order; a row that moved from one page to another between two requests appears once, newest copy first place. */
export function joinPages<T extends { id: string }>(pages: readonly Page<T>[]): Paged<T> {
  const at = new Map<string, number>();
  const rows: T[] = [];
  for (const page of pages) {
    for (const row of page.data) {
      const seen = at.get(row.id);
      if (seen === undefined) {
        at.set(row.id, rows.length);
        rows.push(row);
      } else {
        rows[seen] = row;
      }
    }
  }
  const last = pages[pages.length - 1];
  const cursor = last?.next_cursor ?? null;
  return { rows, cursor, more: Boolean(last?.has_more ?? cursor) && cursor !== null };
}

/** `/v1/x?limit=50&cursor=…`, leaving out what is empty. */
export function query(path: string, params: Record<string, string | number | boolean | null | undefined>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== '' && value !== false) search.set(key, String(value));
  }
  const text = search.toString();
  return text ? `${path}${path.includes('?') ? '&' : '?'}${text}` : path;
}
