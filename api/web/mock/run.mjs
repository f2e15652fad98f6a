// Browser tests against the stand-in: `npm run test:mock` (build first).
import { spawn } from 'node:child_process';
import { start, EMAIL, PASSWORD } from './server.mjs';

const mock = await start(0);
const child = spawn(process.execPath, ['--test', 'test/browser/pages.test.mjs'], {
  stdio: 'inherit',
  env: { ...process.env, FOREWARN_URL: mock.url, FOREWARN_EMAIL: EMAIL, FOREWARN_PASSWORD: PASSWORD },
});
child.on('exit', async (code) => {
  await mock.close();
  process.exit(code ?? 1);
});
