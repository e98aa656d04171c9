import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NetNs } from 'netsteer';
import { Nftables, parseRuleset } from 'netsteer/nftables';
import { ROOT } from '../test/support/native.ts';
import { compare, type Program, type Result, timed } from './harness.ts';
import { scratch, timedCommand, versionOf } from './programs.ts';
import { iptablesText, mapText, redirectText } from './rules.ts';

/** Milliseconds for the kernel to free what a namespace held, for each rule in it. */
const REST_PER_RULE = 0.01;

/** Texts of nft's language, from the file to the kernel's answer: in a process that runs, and as a whole process, beside nft and iptables. */
export async function parse(quick: boolean): Promise<Result[]> {
  const rules = quick ? 10_000 : 50_000;
  const elements = quick ? 20_000 : 100_000;
  const results = await loading(`rules/${rules}`, rules, redirectText(rules), quick, iptablesText(rules));
  results.push(...(await loading(`elements/${elements}`, elements, mapText(elements), quick)));
  return results;
}

async function loading(
  name: string,
  count: number,
  text: string,
  quick: boolean,
  iptables?: string,
): Promise<Result[]> {
  const file = scratch(`${name.replace('/', '-')}.nft`);
  writeFileSync(file, text);
  const script = join(ROOT, 'build', 'apply-text.js');
  const command = (program: string, parameters: string[], input?: string): Program['run'] => {
    const more = input === undefined ? {} : { input };
    return () => inNew((_, netns) => timedCommand({ program, parameters, netns, ...more }));
  };
  const programs: Program[] = [
    { name: 'netsteer', run: () => inNew(handle => timed(() => handle.sync.apply(readFileSync(file, 'utf8')))) },
    { name: 'netsteer, parseRuleset', run: () => timed(() => parseRuleset(text)) },
    { name: 'netsteer, whole process', run: command(process.execPath, [script, file]) },
  ];
  if (versionOf('nft', '--version') !== undefined) programs.push({ name: 'nft -f', run: command('nft', ['-f', file]) });
  if (iptables !== undefined && versionOf('iptables-nft-restore', '--version') !== undefined) {
    const input = scratch(`${count}.iptables`);
    writeFileSync(input, iptables);
    programs.push({ name: 'iptables-nft-restore', run: command('iptables-nft-restore', [], input) });
  }
  return compare(name, programs, { operations: count, rounds: quick ? 3 : 7, warmUp: 2, rest: count * REST_PER_RULE });
}

async function inNew<T>(work: (handle: Nftables, netns: NetNs) => T | Promise<T>): Promise<T> {
  const netns = NetNs.create();
  const handle = Nftables.open({ netns });
  try {
    return await work(handle, netns);
  } finally {
    await handle[Symbol.asyncDispose]();
    await netns[Symbol.asyncDispose]();
  }
}
