import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { compiledSources, transpileSource } from '../support/compiled.ts';
import { SnippetsOf } from '../support/snippets.ts';
import { kernelSuite } from '../support/where.ts';

const page = new SnippetsOf('test/kernel/nftables-docs.test.ts');
const examples = page.all.map(({ code }) => code);

/** Runs an example in a namespace of its own; gives what it prints, and what nft lists afterwards. */
function run(example: string): { output: string; listed: string } {
  const netns = NetNs.create();
  const name = `nftables-docs-${process.pid}`;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nftables-docs-'));
  netns.pin(name);
  try {
    const sources = `${compiledSources()}/`;
    const script = transpileSource(example).replaceAll(/'netsteer\/([\w/]+)'/g, `'${sources}$1/index.js'`);
    const file = path.join(folder, 'example.mjs');
    const open = `import { NetNs } from '${sources}netns/index.js';\nconst netns = NetNs.open({ name: '${name}' });\n`;
    fs.writeFileSync(file, open + script);
    const output = execFileSync(process.execPath, [file], { cwd: folder, encoding: 'utf8' });
    return { output, listed: netns.run(() => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' })) };
  } finally {
    netns.unpin(name);
    netns.close();
    fs.rmSync(folder, { recursive: true });
  }
}

/* The examples of the page as they stand. */
kernelSuite('docs/nftables.md', () => {
  it('writes rules', () => {
    const { output, listed } = run(page.take(examples[0]!.trimEnd()).code);
    expect(output).toBe('[]\n');
    expect(listed).toContain('comment "made by the deployment"');
    expect(listed.replaceAll(/\s+/g, ' ')).toContain(
      'elements = { 10.0.0.0/8, 172.16.0.0/12, 192.168.1.10-192.168.1.20 }',
    );
    expect(listed).toContain('10.10.0.100 . 80 comment "web1" : 8080');
  });

  it('gives rules one after the other', () => {
    expect(run(page.take(examples[1]!.trimEnd()).code).output).toBe('0\n');
  });

  it('reads, watches and plans', () => {
    const { output, listed } = run(page.take(examples[2]!.trimEnd()).code);
    expect(output).toBe(
      `+ table ip web comment web deployment
+ chain ip web in type filter hook input priority 0
+ set ip web clients flags interval: 10.0.0.0/8

[ 'clients' ] [ '10.0.0.0/8' ]
`,
    );
    expect(listed).toContain('comment "web deployment"');
  });

  it('plans a part', () => {
    const { output } = run(page.take(examples[3]!.trimEnd()).code);
    expect(output).toBe('- element inet web ports: 443\n+ element inet web ports: 8443\n\n');
  });

  it('lists rules', () => {
    const { output, listed } = run(page.take(examples[4]!.trimEnd()).code);
    expect(output).toBe(
      `${listed}
[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":8080}},{"accept":null}]
[ 'metainfo', 'table', 'chain', 'rule' ]
`,
    );
  });

  it("speaks in the kernel's terms", () => {
    const { listed } = run(`${page.take(examples[5]!.trimEnd()).code}\nconsole.log(rules.length);`);
    expect(listed).toContain('ip saddr @clients counter packets 0 bytes 0');
    expect(listed).toContain('elements = { 10.0.0.1 }');
  });

  it('has no example that this file does not run', () => {
    expect(page.left).toEqual([]);
  });
});
