import { useEffect } from 'preact/hooks';

/** A page names itself once it knows what it shows. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Forewarn`;
  }, [title]);
}
