import { expect, it } from 'vitest';
import { evaluate } from '../support/compiled.ts';
import { PATIENCE_MILLISECONDS } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/* Texts of 100,000 rules and of 1,000,000 elements: work and memory grow as the text does. */

/** What a text cost a process of its own. */
interface Cost {
  /** Processor time of the process, without the kernel's part. */
  readonly milliseconds: number;
  /** The most memory that the process has ever had. */
  readonly peakKilobytes: number;
  /** How many lines the kernel has of it. */
  readonly made: number;
}

const LINES = {
  rules: "'ip saddr ' + address(i) + ' tcp dport ' + (1 + (i & 0xfff)) + ' counter accept\\n'",
  elements: "address(i) + ',\\n'",
} as const;
const AROUND = {
  rules: ['table ip t {\nchain c {\n', '}\n}\n'],
  elements: ['table ip t {\nset s { type ipv4_addr; elements = { ', '}; }\n}\n'],
} as const;
/** Listing a chain takes the kernel the square of its length: it says how many rules there are, too, and newer kernels how many elements. */
const COUNTED = {
  rules: "(await nft.chain({ family: 'ip', table: 't', name: 'c' })).use",
  elements: `(await nft.set({ family: 'ip', table: 't', name: 's' })).count ??
    (await nft.elements({ family: 'ip', table: 't', name: 's' })).length`,
} as const;

function costOf(kind: keyof typeof LINES, lines: number, how: 'apply' | 'read'): Cost {
  const [before, after] = AROUND[kind].map(part => JSON.stringify(part));
  const script = `
    import { Nftables, parseRuleset } from './nftables/index.js';
    import { NetNs } from './netns/index.js';
    const netns = NetNs.create();
    const nft = Nftables.open({ netns });
    const address = i => '10.' + (i >> 16) + '.' + ((i >> 8) & 255) + '.' + (i & 255);
    let text = ${before};
    for (let i = 0; i < ${lines}; i++) text += ${LINES[kind]};
    text += ${after};
    const start = process.cpuUsage();
    let made = 0;
    if (${how === 'apply'}) await nft.apply(text);
    else made = parseRuleset(text).nftables.flatMap(({ add }) => add.rule ?? add.element?.elem.set ?? []).length;
    const milliseconds = process.cpuUsage(start).user / 1000;
    const peakKilobytes = process.resourceUsage().maxRSS;
    if (${how === 'apply'}) made = ${COUNTED[kind]};
    console.log(JSON.stringify({ milliseconds, peakKilobytes, made }));
    await nft[Symbol.asyncDispose]();
    netns.close();`;
  return evaluate(script) as Cost;
}

/** Work that grew with the square of a text would be sixteen times as much for four times the text. */
const QUADRATIC = 16;

kernelSuite('large texts', () => {
  it.each([
    ['rules', 100_000, 'apply', 500],
    ['elements', 1_000_000, 'apply', 700],
    ['rules', 100_000, 'read', 800],
    ['elements', 1_000_000, 'read', 700],
  ] as const)(
    'of %s, %i lines, cost no more than their length: %s',
    { timeout: PATIENCE_MILLISECONDS },
    (kind, lines, how, megabytes) => {
      const [quarter, whole] = [costOf(kind, lines / 4, how), costOf(kind, lines, how)];
      expect([quarter.made, whole.made]).toEqual([lines / 4, lines]);
      expect(whole.milliseconds / quarter.milliseconds).toBeLessThan(QUADRATIC / 2);
      expect(whole.peakKilobytes).toBeLessThan(megabytes * 1024);
    },
  );
});
