import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NetNs } from 'netsteer';
import { Iptables } from 'netsteer/iptables';
import { Nftables, parseRuleset } from 'netsteer/nftables';
import { ROOT } from '../test/support/native.ts';
import { compare, type Program, type Result, type Sample, timed } from './harness.ts';
import { scratch, timedCommand, versionOf } from './programs.ts';
import { iptablesText, mapText, redirectText, statefulText } from './rules.ts';

/** Milliseconds for the kernel to free what a namespace held, for each rule in it. */
const REST_PER_RULE = 0.01;

/** Texts of nft's language, from the file to the kernel's answer, and of iptables', in both directions: in a process that runs, and as a whole process, beside nft and iptables. */
export async function parse(quick: boolean): Promise<Result[]> {
  const results: Result[] = [];
  for (const count of [10_000, 50_000])
    results.push(...(await loading(`rules/${count}`, count, redirectText(count), quick, iptablesText(count))));
  const elements = quick ? 20_000 : 100_000;
  results.push(...(await loading(`elements/${elements}`, elements, mapText(elements), quick)));
  const rules = quick ? 10_000 : 50_000;
  results.push(...(await restoring(`iptables/${rules}`, rules, iptablesText(rules), quick)));
  results.push(...(await restoring(`iptables-stateful/${rules}`, rules, statefulText(rules), quick)));
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

/** Texts of iptables: restored into a namespace, and saved from one that has the rules. */
async function restoring(name: string, count: number, text: string, quick: boolean): Promise<Result[]> {
  if (versionOf('iptables-nft-restore', '--version') === undefined) return [];
  const file = scratch(`${name.replace('/', '-')}.rules`);
  writeFileSync(file, text);
  const script = join(ROOT, 'build', 'restore-text.js');
  const command = (program: string, ...parameters: string[]): Program['run'] =>
    inNewNamespace(netns => timedCommand({ program, parameters, netns, input: file }));
  const options = { operations: count, rounds: quick ? 3 : 7, warmUp: 2, rest: count * REST_PER_RULE };
  const restore: Program[] = [
    { name: 'netsteer', run: inNewNamespace(netns => withIptables(netns, ipt => timed(() => ipt.sync.restore(text)))) },
    { name: 'netsteer, whole process', run: command(process.execPath, script, 'restore', file) },
    { name: 'iptables-nft-restore', run: command('iptables-nft-restore') },
  ];
  const results = await compare(`restore ${name}`, restore, options);
  const netns = NetNs.create();
  const ipt = Iptables.open({ netns });
  ipt.sync.restore(text);
  const run =
    (program: string, ...parameters: string[]) =>
    () =>
      timedCommand({ program, parameters, netns });
  const save: Program[] = [
    { name: 'netsteer', run: () => timed(() => ipt.sync.save()) },
    { name: 'netsteer, whole process', run: run(process.execPath, script, 'save') },
    { name: 'iptables-nft-save', run: run('iptables-nft-save') },
  ];
  results.push(...(await compare(`save ${name}`, save, { ...options, rest: 0 })));
  await ipt[Symbol.asyncDispose]();
  await netns[Symbol.asyncDispose]();
  return results;
}

/** A run in a namespace of its own. */
function inNewNamespace(run: (netns: NetNs) => Sample | Promise<Sample>): Program['run'] {
  return async () => {
    const netns = NetNs.create();
    try {
      return await run(netns);
    } finally {
      await netns[Symbol.asyncDispose]();
    }
  };
}

async function withIptables<T>(netns: NetNs, work: (ipt: Iptables) => T | Promise<T>): Promise<T> {
  const ipt = Iptables.open({ netns });
  try {
    return await work(ipt);
  } finally {
    await ipt[Symbol.asyncDispose]();
  }
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
