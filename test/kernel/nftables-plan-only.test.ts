import { NetNs } from 'netsteer';
import { Exchange, NETLINK_NETFILTER, NetlinkSocket } from 'netsteer/netlink';
import {
  accept,
  counter,
  ct,
  type DesiredRuleset,
  decodeMessage,
  drop,
  formatPlan,
  ip,
  jump,
  Nftables,
  RulesetMirror,
  Transaction,
  table,
  tcp,
} from 'netsteer/nftables';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { kernelSuite } from '../support/where.ts';

const OWNER = { comment: 'mine' };
const web = table('inet', 'web');
const input = web.chain('input', { type: 'filter', hook: 'input', priority: 'filter' });
const allowed = web.chain('allowed');
const ports = web.set('ports', { key: 'inet_service', elements: [80, 443] });
const blocked = web.set('blocked', { key: 'ipv4_addr', flags: ['interval'], elements: ['192.0.2.0/24'] });
const ways = web.map('ways', { key: 'ipv4_addr', data: 'verdict' });
const DESIRED: DesiredRuleset = {
  tables: [web.table],
  chains: [allowed.chain, input.chain],
  sets: [
    ports.set,
    blocked.set,
    { ...ways.map, elements: [{ key: '10.0.0.1', data: { verdict: 'jump', chain: 'allowed' } }] },
  ],
  rules: [
    input.rule([ct.state.in(['established', 'related']), accept()]).rule,
    input.rule([ip.saddr.in(blocked.reference), drop()]).rule,
    input.rule([tcp.dport.in([22, 8080]), jump('allowed')]).rule,
    input.rule([ip.saddr.vmap(ways.reference)]).rule,
    allowed.rule([tcp.dport.in(ports.reference), counter(), accept()]).rule,
  ],
};
const without = (list: keyof DesiredRuleset, name: string): DesiredRuleset => ({
  ...DESIRED,
  [list]: (DESIRED[list] as readonly { name?: string; chain?: string }[]).filter(
    each => each.name !== name && each.chain !== name,
  ),
});

/** The names in the requests that were sent. */
let asked: Set<unknown>;
/** How many requests were dumps or questions. */
let questions: number;

class Tapped extends NetlinkSocket {
  override send(bytes: Uint8Array, length: number): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, length);
    for (let at = 0; at + 16 <= length; at += (view.getUint32(at, true) + 3) & ~3) {
      const size = view.getUint32(at, true);
      if (view.getUint16(at + 4, true) >> 8 !== 10) continue;
      const { type, object } = decodeMessage(bytes.slice(at, at + size));
      if (type.startsWith('get') && type !== 'getgen') questions++;
      const { chain, set, name } = object as Record<string, unknown>;
      for (const each of [chain, set, name]) if (each !== undefined) asked.add(each);
    }
    return super.send(bytes, length);
  }
}

let netns: NetNs;
let nft: Nftables;
beforeEach(async () => {
  netns = NetNs.create();
  nft = new Nftables(new Exchange(new Tapped({ netns, protocol: NETLINK_NETFILTER }), 'nftables'));
  asked = new Set();
  await nft.reconcile(DESIRED, OWNER);
  // Somebody changes all of it.
  await nft.commit(
    new Transaction()
      .flush(input)
      .flush(allowed)
      .delete(ports.elements([443]))
      .add(ports.elements([8443]))
      .flush(blocked)
      .add(web.chain('strange')),
  );
  asked = new Set();
  questions = 0;
});
afterEach(async () => {
  await nft[Symbol.asyncDispose]();
  netns.close();
});

const shown = async (desired: DesiredRuleset, options: object) =>
  formatPlan(await nft.plan(desired, { ...OWNER, ...options }))
    .split('\n')
    .slice(0, -1);
const rulesOf = async (chain: string) => (await nft.rules({ ...web.place, chain })).length;

kernelSuite('plan and reconcile with `only`', () => {
  it('change a chain and nothing else, and read nothing else', async () => {
    const lines = await shown(DESIRED, { only: [input] });
    expect(lines.filter(line => line.startsWith('+ rule inet web input'))).toHaveLength(4);
    expect(lines.filter(line => !line.startsWith('+ rule inet web input'))).toEqual([
      '+ set inet web __set%d flags anonymous,constant: 2, 4',
      '+ set inet web __set%d flags anonymous,constant: 22, 8080',
    ]);
    await nft.reconcile(DESIRED, { ...OWNER, only: [input] });
    expect([...asked]).toContain('input');
    expect([...asked].filter(name => ['allowed', 'strange', 'ports'].includes(String(name)))).toEqual([]);
    expect([await rulesOf('input'), await rulesOf('allowed')]).toEqual([4, 0]);
    expect(await nft.elements(ports.set, { as: 'values' })).toEqual([80, 8443]);
    expect(await shown(DESIRED, { only: [input] })).toEqual([]);
  });

  it('know the sets and chains of a rule of its own', async () => {
    const tx = new Transaction();
    const own = tx.anonymousChain(web.place);
    tx.add({ rule: { ...web.place, ...own, statements: [tcp.dport.in([1, 2]), accept()] } });
    const expressions = [{ immediate: { register: 0, data: { verdict: 'jump' as const, ...own } } }];
    await nft.commit(tx.add({ rule: { ...allowed.place, expressions } }));
    const { generation: _, ...desired } = await nft.ruleset({ elements: true });
    expect(await shown(desired, {})).toEqual([]);
    expect(await shown(desired, { only: [allowed] })).toEqual([]);
    const rules = desired.rules.filter(({ chain }) => chain !== 'allowed');
    expect(await shown({ ...desired, rules }, { only: [allowed] })).toEqual([
      expect.stringMatching(/^- rule inet web allowed handle/),
    ]);
  });

  it('change the elements of a set and nothing else', async () => {
    expect(await shown(DESIRED, { only: [ports] })).toEqual([
      '- element inet web ports: 8443',
      '+ element inet web ports: 443',
    ]);
    await nft.reconcile(DESIRED, { ...OWNER, only: [ports] });
    expect([...asked].filter(name => name !== 'web' && name !== 'ports')).toEqual([]);
    expect(await nft.elements(ports.set, { as: 'values' })).toEqual([80, 443]);
    expect([await rulesOf('input'), await nft.elements(blocked.set)]).toEqual([0, []]);
  });

  it('keep the elements of a map that lead to chains outside', async () => {
    const desired = { ...DESIRED, sets: [ports.set, blocked.set, { ...ways.map, size: 99 }] };
    await nft.reconcile(desired, { ...OWNER, only: [ways] });
    expect((await nft.set(ways.map))?.description?.size).toBe(99);
    expect(await nft.elements(ways.map, { as: 'values' })).toEqual([
      { key: '10.0.0.1', data: { verdict: 'jump', chain: 'allowed' } },
    ]);
    expect(await rulesOf('input')).toBe(0);
  });

  it('remove a chain or a set that is not desired', async () => {
    await nft.reconcile(DESIRED, { ...OWNER, only: [web.chain('strange')] });
    expect(await nft.chain(web.chain('strange').chain)).toBeUndefined();
    await nft.reconcile(without('sets', 'ports'), { ...OWNER, only: [ports] }).catch(() => {});
    expect(await nft.set(ports.set)).toBeUndefined();
    expect(await nft.set(blocked.set)).toBeDefined();
  });

  it('change a table and no other of the owner', async () => {
    const second = table('ip', 'second');
    const both = { ...DESIRED, tables: [web.table, second.table] };
    expect(await shown(both, { only: [second] })).toEqual(['+ table ip second comment mine']);
    await nft.reconcile(both, { ...OWNER, only: [second] });
    expect([...asked].filter(name => name !== 'second')).toEqual([]);
    expect((await nft.tables()).map(({ name }) => name)).toEqual(['web', 'second']);
    await nft.reconcile({ tables: [] }, { ...OWNER, only: [second] });
    expect((await nft.tables()).map(({ name }) => name)).toEqual(['web']);
    await nft.reconcile(DESIRED, { ...OWNER, only: [web] });
    expect(await shown(DESIRED, {})).toEqual([]);
  });

  it('lead to the desired state when all is named', async () => {
    await nft.reconcile(DESIRED, { ...OWNER, only: [input, allowed, ports, blocked, ways, web.chain('strange')] });
    expect(await shown(DESIRED, {})).toEqual([]);
  });

  it('rejects a table of somebody else with ERR_FOREIGN_TABLE', async () => {
    for (const only of [[input], [ports], [web]])
      await expect(nft.plan(DESIRED, { comment: 'another', only })).rejects.toMatchObject({
        code: 'ERR_FOREIGN_TABLE',
      });
  });

  it('rejects a part of a table that is not there with ENOENT, and makes no table', async () => {
    await nft.commit(new Transaction().delete(web));
    const refused = nft.reconcile(DESIRED, { ...OWNER, only: [ports] });
    await expect(refused).rejects.toMatchObject({ failures: { 0: { code: 'ENOENT' } }, outcome: 'none' });
    expect(await nft.tables()).toEqual([]);
  });

  it.each([
    ['no list', 'ERR_INVALID_ARG_TYPE', 'only', input],
    ['another kind', 'ERR_INVALID_ARG_TYPE', 'only[0]', [{ rule: {} }]],
    ['two kinds at once', 'ERR_INVALID_ARG_TYPE', 'only[0]', [{ ...input, ...ports }]],
    ['a name that is missing', 'ERR_INVALID_ARG_TYPE', 'only[0].set.name', [{ set: web.place }]],
    [
      'a family that there is not',
      'ERR_OUT_OF_RANGE',
      'only[0].chain.family',
      [{ chain: { ...input.chain, family: 'ipv4' } }],
    ],
    ['a table that is not desired', 'ERR_INVALID_ARG_TYPE', 'only[0].chain.table', [table('ip', 'other').chain('c')]],
  ])('rejects %s with %s', async (_, code, attribute, only) => {
    await expect(nft.plan(DESIRED, { ...OWNER, only: only as never })).rejects.toMatchObject({ code, attribute });
  });
});

kernelSuite('plan and reconcile with `mirror`', () => {
  it('read nothing while the mirror is right, and read when it is not', async () => {
    const mirror = new RulesetMirror(await nft.ruleset({ elements: true }));
    questions = 0;
    const { operations } = await nft.plan(DESIRED, { ...OWNER, mirror });
    expect(operations.length).toBeGreaterThan(5);
    expect(questions).toBe(0);
    await nft.reconcile(DESIRED, { ...OWNER, mirror });
    // The commit asks for the ranges that it adds to.
    expect(questions).toBeLessThan(2);
    expect(await shown(DESIRED, {})).toEqual([]);
    questions = 0;
    // The mirror has been told nothing since: its plan is refused for its generation.
    expect((await nft.reconcile(DESIRED, { ...OWNER, mirror })).operations).toEqual([]);
    expect(questions).toBeGreaterThan(0);
  });

  it('limit the plan to a part', async () => {
    const mirror = new RulesetMirror(await nft.ruleset({ elements: true }));
    expect(await shown(DESIRED, { mirror, only: [ports] })).toEqual(await shown(DESIRED, { only: [ports] }));
    expect(await shown(DESIRED, { mirror, only: [input] })).toEqual(await shown(DESIRED, { only: [input] }));
  });

  it('read where the mirror has been told nothing, and rejects another object with ERR_INVALID_ARG_TYPE', async () => {
    expect(await shown(DESIRED, { mirror: new RulesetMirror() })).toEqual(await shown(DESIRED, {}));
    await expect(nft.plan(DESIRED, { ...OWNER, mirror: {} as never })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
      attribute: 'mirror',
    });
  });
});
