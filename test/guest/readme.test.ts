import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { Container, formatRuleset, Links, NetNs } from 'netsteer';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RUNTIMES } from '../consumer.ts';
import { SnippetsOf } from '../support/snippets.ts';
import { kernelSuite } from '../support/where.ts';

const page = new SnippetsOf('test/guest/readme.test.ts');
/** The project that `npm test` has installed the package into; it is at the same path in the guest. */
const project = process.env.NETSTEER_CONSUMER;

kernelSuite('the packed package in an empty project', () => {
  // Of each test: what one leaves, when it fails, is not there for the next.
  let client: NetNs;
  let balancer: NetNs;
  let web: NetNs;
  const sleepers: ChildProcess[] = [];

  /** A process that lives in a namespace: a container, as far as its network goes. */
  function live(netns: NetNs): number {
    const sleeper = netns.run(() => spawn('sleep', ['infinity'], { stdio: 'ignore' }));
    sleepers.push(sleeper);
    return sleeper.pid!;
  }

  beforeEach(async () => {
    [client, balancer, web] = [NetNs.create(), NetNs.create(), NetNs.create()];
    using links = Links.open({ netns: web });
    await links.createVeth({ name: 'eth0', peer: { name: 'eth0', netns: client } });
    using peer = Links.open({ netns: client });
    using bare = Links.open({ netns: balancer });
    await bare.set('lo', { up: true });
    for (const [side, address] of [
      [links, '192.168.0.50/24'],
      [peer, '192.168.0.1/24'],
    ] as const) {
      await side.set('lo', { up: true });
      await side.set('eth0', { up: true });
      await side.addAddress('eth0', address);
    }
    await peer.addRoute({ to: '10.10.0.100/32', via: '192.168.0.50' });
  });

  afterEach(() => {
    for (const sleeper of sleepers.splice(0)) sleeper.kill('SIGKILL');
    for (const netns of [client, balancer, web]) netns.close();
  });

  it('has the program netsteer, whose doctor reports that everything works in a container', () => {
    const doctor = [`${project}/node_modules/.bin/netsteer`, 'doctor', '--json', '--pid', String(live(web))];
    const output = execFileSync(`${project}/node_modules/node22/bin/node`, doctor, { encoding: 'utf8' });
    const { ok, versions, netns, abilities } = JSON.parse(output);
    expect({ ok, netns }).toEqual({ ok: true, netns: web.inode });
    expect(versions.node).toMatch(/^v22\./);
    expect(abilities.map(({ name }: { name: string }) => name)).toContain('ipvs');
  });

  it('comes with the example of the README unchanged', () => {
    expect(fs.readFileSync(`${project}/example.mjs`, 'utf8')).toBe(page.take('Container.open').code);
    expect(page.left).toEqual([]);
    expect(project, 'npm test sets NETSTEER_CONSUMER').toBeTypeOf('string');
    expect(fs.existsSync(`${project}/node_modules/netsteer/package.json`)).toBe(true);
  });

  for (const [runtime, [program, ...options]] of Object.entries(RUNTIMES)) {
    const binary = `${project}/${program}`;

    it(`runs the README's example on ${runtime}`, async () => {
      const pids = [live(balancer), live(web)];
      const example = spawn(binary, [...options, 'example.mjs', ...pids.map(String)], {
        cwd: project,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      sleepers.push(example);
      let errors = '';
      example.stderr.on('data', chunk => {
        errors += chunk;
      });
      const line = new Promise<string>((resolve, reject) => {
        createInterface({ input: example.stdout }).once('line', resolve);
        example.once('exit', code => reject(new Error(`the example ended with ${code}: ${errors}`)));
      });
      const listening = expect.poll(() => web.readFile('/proc/net/netfilter/nfnetlink_log')).toMatch(/^\s*5 /m);
      await Promise.race([listening, line]);
      client.run(() => spawn('bash', ['-c', 'exec 3<>/dev/tcp/10.10.0.100/80'], { stdio: 'ignore' }));
      expect(await line).toMatch(
        /^web1 IN=eth0 OUT= MAC=\S+ SRC=192\.168\.0\.1 DST=10\.10\.0\.100 .* PROTO=TCP SPT=\d+ DPT=80 /,
      );
      example.removeAllListeners('exit');
      example.kill();

      await using balanced = Container.open({ netns: balancer });
      await using redirected = Container.open({ netns: web });
      expect(await balanced.ipvs.services({ destinations: true })).toMatchObject([
        { address: '10.10.0.100', scheduler: 'lc', destinations: [{ address: '192.168.0.50', forward: 'direct' }] },
      ]);
      const rules = formatRuleset(await redirected.nftables.ruleset());
      expect(rules).toContain('ip daddr 10.10.0.100 tcp dport 80 log prefix "web1 " group 5 redirect to :8080');
    });

    it(`can be required by a CommonJS program on ${runtime}`, () => {
      expect(execFileSync(binary, [...options, 'required.cjs'], { cwd: project, encoding: 'utf8' })).toBe(
        'function true\n',
      );
    });
  }
});
