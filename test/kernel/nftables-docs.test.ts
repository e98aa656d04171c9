import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { compiledSources } from '../support/compiled.ts';
import { ROOT } from '../support/native.ts';
import { kernelSuite } from '../support/where.ts';

const text = fs.readFileSync(path.join(ROOT, 'docs/nftables.md'), 'utf8');
const examples = [...text.matchAll(/<!-- run by test\/kernel\/nftables-docs\.test\.ts -->\n```js\n(.*?)```/gs)].map(
  match => match[1]!,
);

/* The examples of the page as they stand. */
kernelSuite('docs/nftables.md', () => {
  it('writes what it says', () => {
    const netns = NetNs.create();
    const name = `nftables-docs-${process.pid}`;
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nftables-docs-'));
    netns.pin(name);
    try {
      const sources = `${compiledSources()}/`;
      const script = examples[0]!.replaceAll(/'netsteer\/(\w+)'/g, `'${sources}$1/index.js'`);
      const file = path.join(folder, 'example.mjs');
      const open = `import { NetNs } from '${sources}netns/index.js';\nconst netns = NetNs.open({ name: '${name}' });\n`;
      fs.writeFileSync(file, open + script);
      expect(execFileSync(process.execPath, [file], { cwd: folder, encoding: 'utf8' })).toBe('[]\n');
      const listed = netns.run(() => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }));
      expect(listed).toContain('comment "made by the deployment"');
      expect(listed.replaceAll(/\s+/g, ' ')).toContain(
        'elements = { 10.0.0.0/8, 172.16.0.0/12, 192.168.1.10-192.168.1.20 }',
      );
      expect(listed).toContain('10.10.0.100 . 80 comment "web1" : 8080');
    } finally {
      netns.unpin(name);
      netns.close();
      fs.rmSync(folder, { recursive: true });
    }
  }, 120_000);
});
