// What a QR code on a machine leads to: /q/:token → the asset's page.

import { useEffect } from 'preact/hooks';
import { useQuery } from '../api/query';
import type { Asset } from '../api/types';
import { navigate } from '../router';
import { Head, Loading, Problem } from '../ui/parts';

export function QrPage({ params }: { params: Record<string, string> }) {
  const asset = useQuery<Asset>(`/v1/assets/by-qr/${encodeURIComponent(params['token'] ?? '')}`);
  const id = asset.data?.id;
  useEffect(() => {
    if (id) navigate(`/fleet/${id}`, true);
  }, [id]);
  if (asset.error) return <><Head title="Asset by its code" /><Problem error={asset.error} retry={asset.refresh} /></>;
  return <Loading label="Looking for the asset" />;
}
