import { writeFileSync } from 'node:fs';
import module from 'node:module';
import { NetNs } from 'netsteer';
import { compare, type Program, type Result, type Sample } from './harness.ts';
import { scratch, timedCommand, versionOf } from './programs.ts';

const RULES = 1_000;
/** Entry points, and the milliseconds of processor time above bare Node that an import may take on a quiet machine. */
const IMPORTS: readonly (readonly [name: string, entries: readonly string[], most?: number])[] = [
  ['netns', ['netns']],
  ['ipvs', ['ipvs'], 15],
  ['nftables-kernel', ['nftables/kernel']],
  ['nftables', ['nftables']],
  ['all', ['', 'netns', 'ipvs', 'nftables', 'nflog', 'rtnetlink', 'conntrack', 'iptables', 'container', 'netlink'], 35],
];
/** From the end of the import to the end of the process, with 1,000 rules in the kernel. */
const MOST_OF_RULES = 25;
const CACHE = 'netsteer, compile cache';

/** A script of its own process. The package is imported by the file that its name leads to. */
function script(name: string, entries: readonly string[], body = '', cached = false): string {
  const file = scratch(`${name}${cached ? '-cached' : ''}.mjs`);
  const urls = entries.map(entry =>
    JSON.stringify(import.meta.resolve(entry === '' ? 'netsteer' : `netsteer/${entry}`)),
  );
  const lines = cached
    ? [
        "import module from 'node:module';",
        `module.enableCompileCache(${JSON.stringify(scratch('cache'))});`,
        ...urls.map((url, i) => `const e${i} = await import(${url});`),
      ]
    : urls.map((url, i) => `import * as e${i} from ${url};`);
  writeFileSync(file, [...lines, body].join('\n'));
  return file;
}

const REDIRECT = `[
  { payload: { base: 'network', offset: 16, length: 4, register: 1 } },
  { cmp: { register: 1, op: 'eq', data: '0a0a' + i.toString(16).padStart(4, '0') } },
  { meta: { key: 'l4proto', register: 1 } },
  { cmp: { register: 1, op: 'eq', data: '06' } },
  { payload: { base: 'transport', offset: 2, length: 2, register: 1 } },
  { cmp: { register: 1, op: 'eq', data: '0050' } },
  { immediate: { register: 1, data: '1f90' } },
  { redir: { portRegister: 1 } },
]`;

/** Commits the rules as the first thing that a process does. */
const rulesBy = (handle: string, transaction: string) => `
const place = { family: 'ip', table: 'bench' };
const tx = new e0.${transaction}().add({ table: { family: 'ip', name: 'bench' } });
tx.add({ chain: { ...place, name: 'c', type: 'nat', hook: 'prerouting', priority: -100 } });
for (let i = 0; i < ${RULES}; i++) tx.add({ rule: { ...place, chain: 'c', expressions: ${REDIRECT} } });
const nft = e0.${handle}.open();
await nft.commit(tx);
nft.close();
`;

function rulesForNft(): string {
  const rules = Array.from(
    { length: RULES },
    (_, i) => `ip daddr 10.10.${i >> 8}.${i & 255} tcp dport 80 redirect to :8080`,
  );
  const file = scratch('rules.nft');
  const chain = `chain c {\ntype nat hook prerouting priority -100;\n${rules.join('\n')}\n}`;
  writeFileSync(file, `table ip bench {\n${chain}\n}\n`);
  return file;
}

/** Processes that are compared by their processor time: the least of all runs is what the machine's other work did not touch. */
class Processes {
  readonly #least = new Map<string, number>();

  program(name: string, program: string, ...parameters: string[]): Program {
    const run = async (): Promise<Sample> => {
      const netns = NetNs.create();
      try {
        const sample = await timedCommand({ program, parameters, netns });
        const { cpuMicroseconds = sample.seconds * 1e6 } = sample;
        this.#least.set(name, Math.min(this.#least.get(name) ?? Number.POSITIVE_INFINITY, cpuMicroseconds));
        return sample;
      } finally {
        netns.close();
      }
    };
    return { name, run };
  }

  node(name: string, file: string): Program {
    return this.program(name, process.execPath, file);
  }

  /** Milliseconds. */
  whole(name: string): string {
    return (this.#least.get(name)! / 1000).toFixed(1);
  }

  /** How much more a program takes than another one: in milliseconds, and in parts of bare Node. `most`: in milliseconds, on a quiet machine. */
  above(name: string, other: string, most: number | undefined): string {
    const node = this.#least.get('node')!;
    const more = this.#least.get(name)! - this.#least.get(other)!;
    const limit = most === undefined ? '' : ` (at most ${most} on a quiet machine)`;
    return `${(more / 1000).toFixed(1)} ms of processor time, ${(more / node).toFixed(2)} of bare Node's ${(node / 1000).toFixed(1)} ms${limit}`;
  }
}

/** What it costs to begin: the import of each entry point, and a process that commits 1,000 rules. */
export async function start(quick: boolean): Promise<{ results: Result[]; versions: Record<string, string> }> {
  const rounds = quick ? 10 : 40;
  const hasCache = 'enableCompileCache' in module;
  const bare = script('bare', []);
  const results: Result[] = [];
  for (const [name, entries, most] of IMPORTS) {
    const processes = new Processes();
    const programs = [processes.node('node', bare), processes.node('netsteer', script(name, entries))];
    if (hasCache) programs.push(processes.node(CACHE, script(name, entries, '', true)));
    results.push(...(await compare(`import/${name}`, programs, { rounds })));
    console.log(`import of ${name}: ${processes.above('netsteer', 'node', most)}`);
    if (hasCache) console.log(`import of ${name}, compile cache: ${processes.above(CACHE, 'node', undefined)}`);
  }
  const nft = versionOf('nft', '--version');
  const processes = new Processes();
  const body = rulesBy('Nftables', 'Transaction');
  const programs = [
    processes.node('node', bare),
    processes.node('import', script('nftables', ['nftables'])),
    processes.node('netsteer', script('rules', ['nftables'], body)),
    processes.node(
      'netsteer/nftables/kernel',
      script('kernel-rules', ['nftables/kernel'], rulesBy('KernelNftables', 'KernelTransaction')),
    ),
  ];
  if (hasCache) programs.push(processes.node(CACHE, script('rules', ['nftables'], body, true)));
  if (nft !== undefined) programs.push(processes.program('nft', 'nft', '-f', rulesForNft()));
  results.push(...(await compare(`process/${RULES}-rules`, programs, { rounds })));
  console.log(`${RULES} rules above the import: ${processes.above('netsteer', 'import', MOST_OF_RULES)}`);
  if (nft !== undefined) console.log(`nft -f, the whole process: ${processes.whole('nft')} ms`);
  return { results, versions: nft === undefined ? {} : { nft } };
}
