import { BatchError } from 'netsteer';
import type { JsonCommand } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { debian, freshNamespaces, nft } from '../support/fresh-namespace.ts';
import { kernelSuite } from '../support/where.ts';

/* Commands in nft's JSON, with the words that only our JSON has for what nft says in text alone. */

freshNamespaces();

const T = { family: 'inet', table: 't' } as const;
const CHAIN = { ...T, name: 'c', type: 'filter', hook: 'input', prio: 0 } as const;
const BASE: JsonCommand[] = [{ add: { table: { family: 'inet', name: 't' } } }, { add: { chain: CHAIN } }];
const rule = (expr: object[]) => ({ ...T, chain: 'c', expr }) as never;
const chainOf = (listing: string) => /\tchain c \{\n([\s\S]*?)\n\t\}/.exec(listing)![1];

kernelSuite('apply: what only text can say in nft', () => {
  it('makes chains without a name, with their rules and comments, for the rule that jumps there', async () => {
    const inner = [{ expr: [{ counter: null }], comment: 'first' }, { expr: [{ accept: null }] }];
    await nft.apply({
      nftables: [
        ...BASE,
        { add: { rule: rule([{ jump: { rules: inner } }]) } },
        { add: { rule: rule([{ goto: { rules: [{ expr: [{ drop: null }] }] } }]) } },
      ],
    });
    expect(
      chainOf(debian('', 'list', 'ruleset'))!
        .split('\n')
        .slice(1, 5),
    ).toEqual(['\t\tjump {', '\t\t\tcounter packets 0 bytes 0 comment "first"', '\t\t\taccept', '\t\t}']);
    expect(await nft.rules({ ...T, chain: 'c' })).toHaveLength(2);
    expect(await nft.chains()).toHaveLength(3);
  });

  it('rejects a rule inside of a rule with its path, and an unknown object in one with ENOENT', async () => {
    const jump = (expr: object[]) => rule([{ jump: { rules: [{ expr: [{ accept: null }] }, { expr }] } }]);
    const wrong = { nftables: [...BASE, { add: { rule: jump([{ counter: 'nothing' }]) } }] };
    const error = await nft.apply(wrong).catch(each => each);
    expect(error).toBeInstanceOf(BatchError);
    expect(error.failures[0]).toMatchObject({
      code: 'ENOENT',
      attribute: 'nftables[2].add.rule.expr[0].jump.rules[1].expr[0]',
    });
    const malformed = { nftables: [...BASE, { add: { rule: jump([{ match: 4 }]) } }] };
    await expect(nft.apply(malformed)).rejects.toThrow('nftables[2].add.rule.expr[0].jump.rules[1].expr[0].match: ');
  });

  it('knows times below a second, values that are ranges, and elements as nft echoes them', async () => {
    await nft.apply({
      nftables: [
        ...BASE,
        {
          add: {
            set: { ...T, name: 's', type: 'ipv4_addr', flags: ['timeout'], timeout: 86_400.008, 'gc-interval': 1.5 },
          },
        },
        { add: { map: { ...T, name: 'm', type: 'mark', map: { interval: 'ipv4_addr' } } } },
        { add: { element: { ...T, name: 's', elem: { set: [{ elem: { val: '10.0.0.1', timeout: 1000.5 } }] } } } },
        { add: { element: { ...T, name: 'm', elem: { set: [[1, { prefix: { addr: '10.0.0.0', len: 8 } }]] } } } },
      ],
    });
    const listing = debian('', 'list', 'ruleset');
    expect(listing).toContain(
      '\t\ttimeout 1d8ms\n\t\tgc-interval 1s500ms\n\t\telements = { 10.0.0.1 timeout 16m40s500ms expires',
    );
    expect(listing).toContain('\t\ttype mark : interval ipv4_addr\n\t\telements = { 0x00000001 : 10.0.0.0/8 }');
  });

  it('changes the policy of a chain that is there, and puts a rule behind another by its handle', async () => {
    await nft.apply({
      nftables: [...BASE, { add: { rule: rule([{ accept: null }]) } }, { add: { rule: rule([{ drop: null }]) } }],
    });
    const [first] = await nft.rules({ ...T, chain: 'c' });
    const position = first!.handle;
    await nft.apply({
      nftables: [
        { add: { chain: { ...T, name: 'c', policy: 'drop' } } },
        { add: { rule: { ...T, chain: 'c', position, expr: [{ counter: null }] } } },
      ],
    });
    expect(chainOf(debian('', 'list', 'ruleset'))!.split('\n')).toEqual([
      '\t\ttype filter hook input priority filter; policy drop;',
      '\t\taccept',
      '\t\tcounter packets 0 bytes 0',
      '\t\tdrop',
    ]);
  });
});
