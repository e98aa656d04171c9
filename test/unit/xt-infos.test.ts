import { readFileSync } from 'node:fs';
import { expect, expectTypeOf, it } from 'vitest';
import { CONNECTION_TARGET_LAYOUTS } from '../../src/nf_tables/xt/connection-targets.ts';
import type { Layouts } from '../../src/nf_tables/xt/layout.ts';
import { OTHER_TARGET_LAYOUTS } from '../../src/nf_tables/xt/other-targets.ts';
import { PACKET_MATCH_LAYOUTS } from '../../src/nf_tables/xt/packet-matches.ts';
import { PACKET_TARGET_LAYOUTS } from '../../src/nf_tables/xt/packet-targets.ts';
import { PROTOCOL_MATCH_LAYOUTS } from '../../src/nf_tables/xt/protocol-matches.ts';
import { STATE_MATCH_LAYOUTS } from '../../src/nf_tables/xt/state-matches.ts';
import type { XtMatch, XtTarget } from '../../src/nftables/index.ts';

const TEXT = ['infos', 'header-infos', 'match-infos']
  .map(file => readFileSync(new URL(`../../src/nf_tables/xt/${file}.ts`, import.meta.url), 'utf8'))
  .join('');
const INTERFACES = { Match: ['HeaderMatchInfos', 'OtherMatchInfos'], Target: ['MoreTargetInfos'] };

/** The keys that the type of one structure spells. A row may name an interface that others share. */
function keysOf(kind: 'Match' | 'Target', name: string): string[] {
  const rows = INTERFACES[kind]
    .map(each => TEXT.slice(TEXT.indexOf(`interface ${each} {`)).split('\n}\n', 1)[0]!)
    .join('\n');
  const row = new RegExp(`\\n  ${name}: (?:([A-Z]\\w+);|([^]*?;)(?=\\n  (?:\\w+:|/\\*\\*)|\\nexport |\\n$))`).exec(
    `${rows}\n`,
  );
  if (row === null) return [];
  const body = row[1] === undefined ? row[2]! : TEXT.slice(TEXT.indexOf(`interface ${row[1]} {`)).split('\n}\n', 1)[0]!;
  return [...body.matchAll(/[{;\s](\w+)\??:/g)].map(([, key]) => key!);
}

it.each([
  ['Match', { ...PACKET_MATCH_LAYOUTS, ...PROTOCOL_MATCH_LAYOUTS, ...STATE_MATCH_LAYOUTS }],
  ['Target', { ...PACKET_TARGET_LAYOUTS, ...CONNECTION_TARGET_LAYOUTS, ...OTHER_TARGET_LAYOUTS }],
] as const)('the type of each structure of a %s spells its fields', (kind, layouts: Layouts) => {
  for (const [name, revisions] of Object.entries(layouts))
    for (const { keys } of Object.values(revisions))
      expect({ name, missing: keys.filter(key => !keysOf(kind, name).includes(key)) }).toEqual({ name, missing: [] });
});

it('matches and targets are typed by their names', () => {
  expectTypeOf<{ name: 'length'; revision: 0; info: { min: 1; max: 9 } }>().toExtend<XtMatch>();
  expectTypeOf<{ name: 'length'; revision: 0; info: { min: '1' } }>().not.toExtend<XtMatch>();
  expectTypeOf<{ name: 'REJECT'; revision: 0; info: { with: 'tcp-reset' } }>().toExtend<XtTarget>();
  expectTypeOf<{ name: 'REJECT'; revision: 0; info: { with: 'tcp-rst' } }>().not.toExtend<XtTarget>();
});
