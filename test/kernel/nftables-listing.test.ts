import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { compileRule, decompileRule, formatRuleset, rulesetJson, Transaction } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { SAMPLES } from '../support/nftables-samples.ts';
import { kernelSuite } from '../support/where.ts';

freshNamespaces();

const debian = (input: string, ...parameters: string[]): string =>
  netns.run(() => execFileSync('nft', parameters, { encoding: 'utf8', input, maxBuffer: 1 << 28 }));

/** Runs each command, and returns those that this kernel has no support for. */
function write(commands: readonly string[]): string[] {
  return commands.filter(command => {
    const { status, stderr } = netns.run(() => spawnSync('nft', ['-f', '-'], { encoding: 'utf8', input: command }));
    if (status === 0) return false;
    // Everything else than a refusal by the kernel is a mistake in the sample.
    expect(stderr).toContain('Could not process rule');
    return true;
  });
}

const contentOf = (listing: { nftables: object[] }): object[] =>
  listing.nftables.filter(object => !('metainfo' in object));

/** nft 1.0.6 leaves blanks at the ends of some lines. */
const lines = (text: string): string[] => text.replace(/[ \t]+$/gm, '').split('\n');

const asDebian = { version: '1.0.6' } as const;

/** nft 1.0.6 shows what is a list elsewhere as memory that was freed. */
function withoutFlags(objects: object[]): object[] {
  return objects.map(object => {
    if (!('table' in object)) return object;
    const { flags: _, ...table } = object.table as { flags?: unknown };
    return { table };
  });
}

kernelSuite('rulesets that nft loaded', () => {
  const version = /v(\d+\.\d+\.\d+)/.exec(execFileSync('nft', ['--version'], { encoding: 'utf8' }))?.[1];

  it.each(Object.entries(SAMPLES))('are listed as nft lists them: %s', async (_name, commands) => {
    expect(version).toBe('1.0.6');
    const refused = write(commands);
    expect(refused.length, refused.join('\n')).toBeLessThan(commands.length / 3);
    const ruleset = await nft.ruleset({ elements: true });
    const json = JSON.parse(debian('', '-j', 'list', 'ruleset'));
    expect(withoutFlags(contentOf(rulesetJson(ruleset, asDebian)))).toEqual(withoutFlags(contentOf(json)));
    expect(lines(formatRuleset(ruleset, asDebian))).toEqual(lines(debian('', 'list', 'ruleset')));
  });

  it.each(Object.entries(SAMPLES))(
    'are unchanged after their listing was written back: %s',
    async (_name, commands) => {
      write(commands);
      const before = debian('', 'list', 'ruleset');
      const listed = formatRuleset(await nft.ruleset({ elements: true }), asDebian);
      debian(`flush ruleset\n${listed}`, '-f', '-');
      expect(lines(debian('', 'list', 'ruleset'))).toEqual(lines(before));
    },
  );

  it.each(Object.entries(SAMPLES))(
    'have rules whose text compiles to the same meaning: %s',
    async (_name, commands) => {
      write(commands);
      const { rules, sets } = await nft.ruleset({ elements: true });
      for (const { family, table, expressions } of rules) {
        const own = sets.filter(set => set.family === family && set.table === table);
        const context = { sets: own, ...asDebian };
        const statements = decompileRule({ family, expressions }, context);
        const again = compileRule(
          { family, statements },
          { ...asDebian, sets: name => own.find(set => set.name === name) },
        );
        const both = [...(again.sets ?? []), ...own];
        const { expressions: compiled } = again;
        expect(decompileRule({ family, expressions: compiled }, { ...asDebian, sets: both })).toEqual(statements);
      }
    },
  );

  it('are printed as JSON that nft reads', async () => {
    write([
      'add table inet t',
      'add set inet t s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.1 }; }',
      'add map inet t m { type inet_service : verdict; elements = { 80 : accept }; }',
      'add chain inet t c { type filter hook input priority 0; policy accept; }',
      'add rule inet t c ip saddr @s tcp dport { 22, 80-90 } counter log prefix "x" accept comment "all"',
      'add rule inet t c tcp dport vmap @m',
    ]);
    const before = debian('', 'list', 'ruleset');
    const json = await nft.ruleset({ as: 'json' });
    expect(nft.sync.ruleset({ as: 'json' })).toEqual(json);
    await nft.commit(new Transaction().flush({ ruleset: {} }));
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'nftables-listing-')), 'ruleset.json');
    fs.writeFileSync(file, JSON.stringify(json));
    debian('', '-j', '-f', file);
    fs.rmSync(path.dirname(file), { recursive: true });
    expect(debian('', 'list', 'ruleset')).toBe(before);
  });
});
