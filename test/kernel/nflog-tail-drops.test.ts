import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { compiledSources } from '../support/compiled.ts';
import { nativeProgram, ROOT } from '../support/native.ts';
import { ip, nft, Opened } from '../support/nflog-lab.ts';
import { RuncContainer } from '../support/runc.ts';
import { kernelSuite } from '../support/where.ts';

/* The program as it stands in docs/examples, with the sources for the package. */
kernelSuite('the example tail-drops.ts', () => {
  const opened = new Opened();
  const names = [`tail-${process.pid}-a`, `tail-${process.pid}-b`, `tail-${process.pid}-c`] as const;
  let spaces: NetNs[];
  let program: ChildProcess | undefined;
  let file: string;
  let output: { out: string[]; err: string[] };
  beforeAll(() => {
    // Made once: on a busy machine that alone takes minutes.
    compiledSources();
    nativeProgram('flood');
  });
  beforeEach(() => {
    spaces = names.map(name => {
      const ns = opened.namespace();
      ns.pin(name);
      return ns;
    });
  });
  afterEach(async () => {
    if (program?.exitCode === null) {
      program.kill('SIGKILL');
      await once(program, 'exit');
    }
    fs.rmSync(file);
    for (const [i, name] of names.entries()) spaces[i]!.unpin(name);
    opened.close();
  });

  function run(...parameters: string[]): void {
    const text = fs.readFileSync(path.join(ROOT, 'docs/examples/tail-drops.ts'), 'utf8');
    const { outputText } = ts.transpileModule(text, {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
    });
    file = path.join(compiledSources(), `tail-drops-${process.pid}.js`);
    fs.writeFileSync(file, outputText.replace("'netsteer'", "'./index.js'"));
    program = spawn(process.execPath, [file, ...parameters], { stdio: ['ignore', 'pipe', 'pipe'] });
    output = { out: [], err: [] };
    const gather = (stream: NodeJS.ReadableStream | null, into: string[]) => {
      let rest = '';
      stream!.setEncoding('utf8').on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop()!;
        into.push(...lines);
      });
    };
    gather(program.stdout, output.out);
    gather(program.stderr, output.err);
  }
  const until = (what: () => unknown) => expect.poll(what);
  const send = (i: number, port: number, count: number) =>
    spaces[i]!.run(() =>
      execFileSync(nativeProgram('flood'), ['-r', '1000', '127.0.0.1', String(port), String(count)], { stdio: 'pipe' }),
    );
  async function interrupt(): Promise<number | null> {
    program!.kill('SIGINT');
    const [code] = await once(program!, 'close');
    return code;
  }
  const chain = (statements: string, policy = 'accept') =>
    `table inet filter { chain input { type filter hook input priority 0; policy ${policy}; ${statements} } }`;

  it('shows what rules log and drop in each container, live and by container name', async () => {
    nft(
      spaces[0]!,
      chain('udp dport 9999 log prefix "web1 " group 5 drop; udp dport 9998 log prefix "let pass " group 6;'),
    );
    // The log rule stands before the one that drops.
    nft(spaces[1]!, chain('udp dport 9999 log prefix "two " group 5; udp dport 9999 counter drop;'));
    run(names[0], names[1]);
    await until(() => output.err.filter(line => /listening to group \d/.test(line))).toHaveLength(3);
    send(0, 9998, 2);
    send(0, 9999, 3);
    send(1, 9999, 2);
    await until(() => output.out.length).toBe(5);
    const text = (name: string, prefix: string) =>
      new RegExp(
        `^\\d\\d:\\d\\d:\\d\\d\\.\\d{3} ${name} DROP ${prefix} IN=lo OUT= MAC=.* SRC=127\\.0\\.0\\.1 .* DPT=9999 LEN=`,
      );
    expect(output.out.filter(line => text(names[0], 'web1').test(line))).toHaveLength(3);
    expect(output.out.filter(line => text(names[1], 'two').test(line))).toHaveLength(2);
    // A rule that comes later, and a container that does.
    nft(spaces[1]!, 'add rule inet filter input udp dport 9997 log prefix "later " group 7 drop;');
    await until(() => output.err.some(line => line === `${names[1]}: listening to group 7`)).toBe(true);
    send(1, 9997, 1);
    await until(() => output.out.at(-1)).toMatch(/DROP later IN=lo .* DPT=9997 /);
    expect(await interrupt()).toBe(0);
    expect(output.err.slice(-2).sort()).toEqual([`${names[0]}: 3 packets`, `${names[1]}: 3 packets`]);
  });

  it('shows all logged packets with --all, as JSON with --json', async () => {
    nft(spaces[0]!, chain('udp dport 9998 log prefix "let pass " group 6;'));
    run('--all', '--json', names[0]);
    await until(() => output.err.some(line => line.endsWith('listening to group 6'))).toBe(true);
    send(0, 9998, 1);
    await until(() => output.out.length).toBe(1);
    expect(JSON.parse(output.out[0]!)).toMatchObject({
      container: names[0],
      drops: false,
      source: '127.0.0.1',
      destinationPort: 9998,
      line: expect.stringMatching(/^let pass IN=lo /),
    });
    expect(await interrupt()).toBe(0);
  });

  it('inserts log rules before those that drop silently with --insert, and removes them', async () => {
    nft(spaces[0]!, chain('udp dport 9999 counter drop;'));
    nft(spaces[1]!, chain('tcp dport 1 accept;', 'drop'));
    const rulesOf = (ns: NetNs) =>
      ns
        .run(() => execFileSync('nft', ['-s', 'list', 'ruleset'], { encoding: 'utf8' }))
        .replace(/packets \d+ bytes \d+/, '');
    const before = spaces.map(rulesOf);
    run('--insert', names[0], names[1]);
    await until(() => output.err.filter(line => line.endsWith('listening to group 4242'))).toHaveLength(2);
    expect(rulesOf(spaces[0]!)).toMatch(
      /udp dport 9999 log prefix "filter\/input " group 4242 comment "netsteer tail-drops"\n\s+udp dport 9999 counter/,
    );
    send(0, 9999, 2);
    send(1, 7777, 3);
    await until(() => output.out.length).toBe(5);
    expect(output.out.filter(line => line.includes(` ${names[0]} DROP filter/input IN=lo `))).toHaveLength(2);
    expect(output.out.filter(line => line.includes(` ${names[1]} DROP filter/input IN=lo `))).toHaveLength(3);
    expect(await interrupt()).toBe(0);
    expect(spaces.map(rulesOf)).toEqual(before);
  });

  it('reports a group that is taken and continues; follows a container to its end', async () => {
    for (const ns of spaces.slice(0, 2)) nft(ns, chain('udp dport 9999 log group 5 drop;'));
    opened.log({ netns: spaces[0]!, groups: [5] });
    run(names[0], names[1], names[2]);
    await until(() => output.err.some(line => line === `${names[1]}: listening to group 5`)).toBe(true);
    expect(output.err.find(line => line.startsWith(names[0]))).toMatch(
      /EPERM: .* group 5 is taken: port id \d+ holds it/,
    );
    spaces[1]!.unpin(names[1]);
    await until(() => output.err).toContain(`${names[1]}: gone`);
    spaces[1]!.pin(names[1]);
    await until(() => output.err.filter(line => line === `${names[1]}: listening to group 5`)).toHaveLength(2);
    expect(await interrupt()).toBe(0);
  });

  it('finds the containers of a runtime by their processes, and shows the drops of each', async () => {
    const containers = [opened.add(new RuncContainer()), opened.add(new RuncContainer())];
    for (const { pid } of containers) {
      const inside = opened.add(NetNs.open({ pid }));
      ip(inside, 'link set lo up');
      nft(inside, chain('udp dport 9999 log prefix "real " group 5 drop;'));
      spaces.push(inside);
    }
    // By its id where the runtime has given it a control group of its own.
    const shown = containers.map(({ id, pid }) =>
      fs.readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(id) ? id.slice(0, 12) : `sleep[${pid}]`,
    );
    run(...containers.map(({ pid }) => String(pid)));
    await until(() => output.err.filter(line => line.endsWith(': listening to group 5')).sort()).toEqual(
      shown.map(name => `${name}: listening to group 5`).sort(),
    );
    send(3, 9999, 2);
    send(4, 9999, 3);
    await until(() => output.out.length).toBe(5);
    for (const [i, name] of shown.entries())
      expect(output.out.filter(line => line.includes(` ${name} DROP real IN=lo `))).toHaveLength(2 + i);
    containers[0]!.close();
    await until(() => output.err).toContain(`${shown[0]}: gone`);
    expect(await interrupt()).toBe(0);
    expect(output.err.at(-1)).toBe(`${shown[1]}: 3 packets`);
  });

  it('has a usage text', async () => {
    run('--help');
    await once(program!, 'close');
    expect([program!.exitCode, output.out[0]]).toEqual([0, 'tail-drops [options] [NAME...]']);
  });
});
