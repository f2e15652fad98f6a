import { defineConfig } from 'vitest/config';

const API = process.env['FOREWARN_API'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
  build: {
    target: 'es2022',
    // A data: URL would need a hole in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: {
    host: '127.0.0.1',
    proxy: { '/v1': API, '/openapi.json': API, '/docs': API, '/healthz': API, '/readyz': API },
  },
  test: { include: ['test/unit/**/*.test.ts'] },
});
