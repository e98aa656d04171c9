import fs from 'node:fs';
import { NetNs } from 'netsteer';
import { accept, compileRule, ct, decompileRule, ip, log, type Statement, tcp } from 'netsteer/nftables';
import { compare, type Program, type Result, timedLoop } from './harness.ts';
import { scratch, timedCommand } from './programs.ts';

/** The optimizing compiler has seen everything after so many. */
const WARM = 5_000;
const CHAIN = { family: 'inet', table: 'bench', chain: 'c' } as const;

const statementsOf = (i: number): Statement[] => [
  ct.state.in('new'),
  ip.saddr.prefix(`10.${(i >> 8) & 255}.${i & 255}.0`, 24),
  tcp.dport.between(1024, 2048 + (i & 1023)),
  log({ group: 5, prefix: `rule${i} ` }),
  accept(),
];

/** Rules in nft's JSON to bytecode and back, beside nft, which parses, compiles and has the kernel check the same rules (`nft -c -j -f`). */
export async function compile(quick: boolean): Promise<Result[]> {
  const count = quick ? 2_000 : 10_000;
  const rules = Array.from({ length: count }, (_, i) => statementsOf(i));
  const compiled = rules.map(statements => compileRule({ family: 'inet', statements }).expressions);
  const file = scratch('compile.json');
  const declared = [
    { add: { table: { family: 'inet', name: 'bench' } } },
    { add: { chain: { family: 'inet', table: 'bench', name: 'c' } } },
  ];
  const added = rules.map(expr => ({ add: { rule: { ...CHAIN, expr } } }));
  fs.writeFileSync(file, JSON.stringify({ nftables: [...declared, ...added] }));
  using netns = NetNs.create();
  const loop = (name: string, work: (index: number) => unknown): Program => ({
    name,
    run: () => timedLoop(count, work),
  });
  const programs = [
    loop('netsteer compile', i => compileRule({ family: 'inet', statements: rules[i]! })),
    loop('netsteer decompile', i => decompileRule({ ...CHAIN, expressions: compiled[i]! } as never)),
    { name: 'nft -c -j -f', run: () => timedCommand({ program: 'nft', parameters: ['-c', '-j', '-f', file], netns }) },
  ] satisfies Program[];
  for (const { run } of programs.slice(0, 2)) for (let done = 0; done < WARM; done += count) await run();
  return await compare('compile', programs, { operations: count, rounds: quick ? 3 : 7, warmUp: 1 });
}
