import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { AttributeTable } from '../../src/codec/index.ts';
import * as T from '../../src/ctnetlink/tables.ts';

const HEADER = '/usr/include/linux/netfilter/nfnetlink_conntrack.h';

/** The nest of a table below another one, which has no name in the sources. */
function below(table: AttributeTable<never>, key: string): AttributeTable<never> {
  const { type } = table.fields.find(field => field.key === key)!;
  return type as unknown as AttributeTable<never>;
}
const flow = T.flowTable as unknown as AttributeTable<never>;
const tuple = T.tupleTable as unknown as AttributeTable<never>;
const expectation = T.expectationTable as unknown as AttributeTable<never>;

/** Each enum of the header that numbers attributes, and the table that has them. */
const TABLES: Record<string, AttributeTable<never>> = {
  ctattr_type: flow,
  ctattr_tuple: tuple,
  ctattr_ip: below(tuple, 'addresses'),
  ctattr_l4proto: below(tuple, 'transport'),
  ctattr_protoinfo: below(flow, 'protocolInfo'),
  ctattr_protoinfo_tcp: T.tcpTable as never,
  ctattr_protoinfo_dccp: T.dccpTable as never,
  ctattr_protoinfo_sctp: T.sctpTable as never,
  ctattr_counters: T.counterTable as never,
  ctattr_tstamp: below(flow, 'timestamp'),
  ctattr_nat: T.translationTable as never,
  ctattr_protonat: below(T.translationTable as never, 'ports'),
  ctattr_seqadj: T.adjustmentTable as never,
  ctattr_synproxy: T.synproxyTable as never,
  ctattr_expect: expectation,
  ctattr_expect_nat: below(expectation, 'translation'),
  ctattr_help: below(flow, 'help'),
  ctattr_secctx: below(flow, 'security'),
  ctattr_stats_cpu: T.statisticsTable as never,
  ctattr_expect_stats: T.expectationStatisticsTable as never,
  ctattr_stats_global: T.totalsTable as never,
  ctattr_filter: below(flow, 'filter'),
};

/** Attributes that no kernel since 4.19 sends or reads (net/netfilter/nf_conntrack_netlink.c). */
const DEAD = [
  'CTA_SECMARK',
  'CTA_COUNTERS32_PACKETS',
  'CTA_COUNTERS32_BYTES',
  // They were parts of CTA_NAT_SEQ_ADJ_ORIG, which is CTA_SEQ_ADJ_ORIG today.
  'CTA_NAT_SEQ_ADJ_ORIG',
  'CTA_NAT_SEQ_ADJ_REPLY',
  'CTA_STATS_SEARCHED',
  'CTA_STATS_NEW',
  'CTA_STATS_IGNORE',
  'CTA_STATS_DELETE',
  'CTA_STATS_DELETE_LIST',
];
/** Enums of numbers that are no attributes, and those of CTA_NAT_SEQ_ADJ_*. */
const OTHERS = ['cntl_msg_types', 'ctnl_exp_msg_types', 'ctattr_natseq'];

/** The enums of the header: the attributes of each, by name, with their numbers. */
function enums(): Map<string, Map<string, number>> {
  const text = readFileSync(HEADER, 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^#.*$/gm, '');
  const found = new Map<string, Map<string, number>>();
  for (const [, name, body] of text.matchAll(/enum (\w+) \{([^}]*)\}/g)) {
    const members = new Map<string, number>();
    let next = 0;
    for (const line of body!.split(',')) {
      const [, member, value] = /^\s*(\w+)(?:\s*=\s*(\w+))?/.exec(line) ?? [];
      if (member === undefined) continue;
      if (value !== undefined) next = /^\d/.test(value) ? Number(value) : (members.get(value) ?? next);
      members.set(member, next);
      next++;
    }
    found.set(name!, members);
  }
  return found;
}

test("every attribute of the kernel's header is in a table", () => {
  const all = enums();
  const missing: string[] = [];
  for (const [name, members] of all) {
    if (OTHERS.includes(name)) continue;
    const table = TABLES[name];
    if (table === undefined) {
      missing.push(`enum ${name}`);
      continue;
    }
    const numbers = new Set(table.fields.map(({ number }) => number));
    for (const [member, number] of members)
      if (!/_UNSPEC$|_PAD$|_MAX$/.test(member) && !DEAD.includes(member) && !numbers.has(number))
        missing.push(`${name}: ${member} (${number})`);
  }
  expect(missing).toEqual([]);
  expect(Object.keys(TABLES).filter(name => !all.has(name))).toEqual([]);
  expect([...all.values()].reduce((sum, { size }) => sum + size, 0)).toBeGreaterThan(100);
});
