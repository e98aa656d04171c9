import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { afterAll, expect, test } from 'vitest';
import type { SCENARIOS } from '../support/memory-scenarios.ts';
import { ROOT } from '../support/native.ts';
import { isLong } from '../support/where.ts';

/*
 * The library is broken in one place after the other, and each time a scenario on a kernel in memory has to fail: without root, and without a
 * double that repeats what the code takes for granted. All of the list in test:long, every fifth in npm test.
 */

/** A file of src, what stands there, and what stands there instead. */
type Mutation = readonly [file: string, from: string, to: string];

const MUTATIONS: readonly Mutation[] = [
  // nf_tables
  ['nft/compile/linearize.ts', "'!=': 'neq'", "'!=': 'eq'"],
  ['nft/compile/linearize.ts', "range: { register, op: 'neq', from, to }", "range: { register, op: 'eq', from, to }"],
  ['nft/compile/linearize.ts', '...(inverted && {', '...(!inverted && {'],
  ['nf_tables/chain.ts', '{ drop: NF_DROP, accept: NF_ACCEPT }', '{ drop: NF_ACCEPT, accept: NF_DROP }'],
  ['nf_tables/rule.ts', 'opt(u64be(C.NFTA_RULE_POSITION))', 'opt(u64be(C.NFTA_RULE_ID))'],
  ['nf_tables/set.ts', 'opt(u32be(C.NFTA_SET_KEY_LEN))', 'opt(u32be(C.NFTA_SET_DATA_LEN))'],
  ['nf_tables/set.ts', 'opt(u64be(C.NFTA_SET_TIMEOUT))', 'opt(u64be(C.NFTA_SET_HANDLE))'],
  ['nf_tables/chain.ts', 'attribute(C.NFTA_HOOK_PRIORITY, PRIORITY)', 'attribute(C.NFTA_HOOK_HOOKNUM, PRIORITY)'],
  ['nf_tables/element.ts', 'opt(u64be(C.NFTA_SET_ELEM_TIMEOUT))', 'opt(u64be(C.NFTA_SET_ELEM_EXPIRATION))'],
  ['nf_tables/set.ts', 'opt(u32be(C.NFTA_SET_DATA_TYPE))', 'opt(u32be(C.NFTA_SET_KEY_TYPE))'],
  [
    'nf_tables/element.ts',
    'opt(attribute(C.NFTA_SET_ELEM_DATA, DATA))',
    'opt(attribute(C.NFTA_SET_ELEM_KEY_END, DATA))',
  ],
  // IPVS
  ['ip_vs/destination-rows.ts', 'direct: C.IP_VS_CONN_F_DROUTE', 'direct: C.IP_VS_CONN_F_TUNNEL'],
  ['ip_vs/destination-rows.ts', 'opt(s32ne(C.IPVS_DEST_ATTR_WEIGHT))', 'opt(s32ne(C.IPVS_DEST_ATTR_U_THRESH))'],
  ['ip_vs/attributes.ts', 'u32ne(C.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN)', 'u32ne(C.IPVS_CMD_ATTR_TIMEOUT_UDP)'],
  ['ip_vs/attributes.ts', 'u32ne(C.IPVS_CMD_ATTR_TIMEOUT_UDP)', 'u32ne(C.IPVS_CMD_ATTR_TIMEOUT_TCP)'],
  ['ipvs/plan.ts', 'if (options.prune) {', 'if (!options.prune) {'],
  ['ipvs/plan.ts', 'changes.push(...raised, ...lowered)', 'changes.push(...lowered, ...raised)'],
  ['ipvs/plan.ts', 'kept.add(id);', ''],
  ['ipvs/plan.ts', 'before.delete(id);', ''],
  ['ip_vs/service-rows.ts', 'opt(u16be(C.IPVS_SVC_ATTR_PORT))', 'opt(u16ne(C.IPVS_SVC_ATTR_PORT))'],
  ['ip_vs/service-rows.ts', 'opt(u32ne(C.IPVS_SVC_ATTR_TIMEOUT))', 'opt(u32ne(C.IPVS_SVC_ATTR_FWMARK))'],
  ['ip_vs/destination-rows.ts', 'opt(u32ne(C.IPVS_DEST_ATTR_U_THRESH))', 'opt(u32ne(C.IPVS_DEST_ATTR_L_THRESH))'],
  [
    'ip_vs/destination-rows.ts',
    'opt(attribute(C.IPVS_DEST_ATTR_TUN_TYPE, U8))',
    'opt(attribute(C.IPVS_DEST_ATTR_TUN_FLAGS, U8))',
  ],
  // NFLOG
  ['nflog/attributes.ts', 'u32be(C.NFULA_SEQ)', 'u32be(C.NFULA_SEQ_GLOBAL)'],
  ['nflog/attributes.ts', 'C.NFULA_PREFIX', 'C.NFULA_UID'],
  ['nflog/attributes.ts', 'C.NFULA_IFINDEX_INDEV)', 'C.NFULA_IFINDEX_OUTDEV)'],
  ['nflog/attributes.ts', 'opt(u32be(C.NFULA_MARK))', 'opt(u32be(C.NFULA_GID))'],
  ['nflog/attributes.ts', 'opt(u32be(C.NFULA_IFINDEX_OUTDEV))', 'opt(u32be(C.NFULA_IFINDEX_PHYSOUTDEV))'],
  ['nflog/attributes.ts', 'opt(u32be(C.NFULA_SEQ_GLOBAL))', 'opt(u32be(C.NFULA_UID))'],
  [
    'nflog/attributes.ts',
    'opt(attribute(C.NFULA_HWADDR, packetHardware))',
    'opt(attribute(C.NFULA_HWHEADER, packetHardware))',
  ],
  // conntrack
  ['ctnetlink/tables.ts', 'u16be(C.CTA_PROTO_SRC_PORT)', 'u16be(C.CTA_PROTO_DST_PORT)'],
  ['ctnetlink/tables.ts', 'timeoutSeconds: opt(u32be(C.CTA_TIMEOUT))', 'timeoutSeconds: opt(u32be(C.CTA_USE))'],
  [
    'conntrack/filter.ts',
    "source: STATUS['source-nat'], destination: STATUS['destination-nat']",
    "source: STATUS['destination-nat'], destination: STATUS['source-nat']",
  ],
  ['ctnetlink/tables.ts', 'u16be(C.CTA_PROTO_DST_PORT)', 'u16be(C.CTA_PROTO_SRC_PORT)'],
  ['ctnetlink/tables.ts', 'opt(attribute(C.CTA_IP_V4_SRC, IPV4))', 'opt(attribute(C.CTA_IP_V4_DST, IPV4))'],
  // containers
  ['container/logging/set.ts', 'const PRIORITY = -110', 'const PRIORITY = -90'],
  ['container/logging/set.ts', "hook = 'input' } = rule", "hook = 'output' } = rule"],
  ['container/redirects/maps.ts', '{ redir: { portRegister: NFT_REG_1,', '{ redir: {'],
  // devices
  ['rtnetlink/links/message.ts', 'opt(u32ne(IFLA_MTU))', 'opt(u32ne(IFLA_NET_NS_FD))'],
  // fleets
  ['fleet/fleet.ts', 'result.programmed.push(container)', 'result.untouched.push(container)'],
  ['fleet/fleet.ts', 'result.gone.push(container)', 'result.untouched.push(container)'],
  ['fleet/session-rules.ts', 'drift.logging = found', 'drift.redirects = found'],
  ['fleet/session.ts', 'drift.virtualServers = operations', 'drift.missing = operations'],
  // plans
  ['nftables/plan/plan.ts', 'if (!wanted.has(key)) all.push', 'if (wanted.has(key)) all.push'],
  [
    'nftables/plan/table-plan.ts',
    'if (other !== undefined && same(model, other)) continue;',
    'if (other !== undefined && !same(model, other)) continue;',
  ],
];
const EVERY = isLong ? 1 : 5;

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netsteer-mutations-'));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** The scenarios on a library of their own, which is broken so. */
async function scenariosOn(mutation: Mutation | undefined, name: string): Promise<typeof SCENARIOS> {
  const outfile = path.join(folder, `${name}.mjs`);
  const [file = '', from = '', to = ''] = mutation ?? [];
  await build({
    entryPoints: [path.join(ROOT, 'test/support/memory-scenarios.ts')],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['koffi', 'pino'],
    logLevel: 'silent',
    plugins: [
      {
        name: 'mutation',
        setup: ({ onLoad }) =>
          onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path: loaded }) => {
            if (mutation === undefined || loaded !== path.join(ROOT, 'src', file)) return undefined;
            return { contents: fs.readFileSync(loaded, 'utf8').replace(from, () => to), loader: 'ts' };
          }),
      },
    ],
  });
  return ((await import(pathToFileURL(outfile).href)) as { SCENARIOS: typeof SCENARIOS }).SCENARIOS;
}

/** The first scenario that fails. */
async function failureOf(scenarios: typeof SCENARIOS): Promise<string | undefined> {
  for (const [name, run] of Object.entries(scenarios)) {
    try {
      await run();
    } catch {
      return name;
    }
  }
  return undefined;
}

test('every mutation of the list is of a text that its file has once', () => {
  expect(MUTATIONS.length).toBeGreaterThanOrEqual(45);
  const lost = MUTATIONS.filter(
    ([file, from]) => fs.readFileSync(path.join(ROOT, 'src', file), 'utf8').split(from).length !== 2,
  );
  expect(lost).toEqual([]);
});

test('no scenario fails on the library as it is', async () => {
  expect(await failureOf(await scenariosOn(undefined, 'whole'))).toBeUndefined();
});

test.each(MUTATIONS.filter((_, i) => i % EVERY === 0))(
  'a test without root fails where %s has `%s` no more',
  async (...mutation) => {
    const name = String(MUTATIONS.indexOf(mutation));
    expect(await failureOf(await scenariosOn(mutation, `mutation${name}-${process.hrtime.bigint()}`))).toBeDefined();
  },
);
