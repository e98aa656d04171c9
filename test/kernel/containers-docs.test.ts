import { execFileSync } from 'node:child_process';
import { Container, Fleet, Links, NetNs } from 'netsteer';
import { ip, Nftables, prepare, redirect, Transaction, tcp, udp } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { transpileSource } from '../support/compiled.ts';
import { SnippetsOf } from '../support/snippets.ts';
import { kernelSuite } from '../support/where.ts';

const page = new SnippetsOf('test/kernel/containers-docs.test.ts');
const AsyncFunction = (async () => {}).constructor as new (
  ...parts: string[]
) => (...values: unknown[]) => Promise<void>;

/** Ends a loop of an example that goes on for ever. */
class Enough extends Error {}

/** Runs the block of the page that has `mark` in it, with these names known; returns what it prints first. */
async function run(mark: string, names: Record<string, unknown>): Promise<unknown[] | undefined> {
  const block = transpileSource(page.take(mark).code.replace(/^import .*$/gm, '')).replace('export {};', '');
  let printed: unknown[] | undefined;
  const log = (...values: unknown[]) => {
    printed = values;
    throw new Enough();
  };
  const known = { ...names, console: { log } };
  try {
    await new AsyncFunction(...Object.keys(known), block)(...Object.values(known));
  } catch (error) {
    if (!(error instanceof Enough)) throw error;
  }
  return printed;
}

async function inContainer(work: (web1: Container, netns: NetNs) => Promise<void>): Promise<void> {
  const netns = NetNs.create();
  const container = Container.open({ netns });
  try {
    await work(container, netns);
  } finally {
    await container[Symbol.asyncDispose]();
    netns.close();
  }
}

/* The examples of the page as they stand. */
kernelSuite('docs/containers.md', () => {
  it('redirects ports', () =>
    inContainer(async web1 => {
      await run('web1.redirects.set', { web1 });
      expect(await web1.redirects.list()).toHaveLength(2);
    }));

  it('redirects prefixes, ranges and all addresses', () =>
    inContainer(async web1 => {
      await run('web1.redirects.add', { web1 });
      expect(await web1.redirects.list()).toHaveLength(3);
    }));

  it('tells differences', () =>
    inContainer(async (web1, netns) => {
      await web1.redirects.set([{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }]);
      using nft = Nftables.open({ netns });
      await nft.apply({
        nftables: [{ add: { chain: { family: 'inet', table: 'netsteer-redirects', name: 'strange' } } }],
      });
      expect(await run('redirects.differences', { web1 })).toEqual([
        'foreign',
        'strange',
        undefined,
        expect.anything(),
      ]);
    }));

  it('logs packets', () =>
    inContainer(async (web1, netns) => {
      const links = Links.open({ netns });
      await links.set('lo', { up: true });
      links.close();
      const sender = setInterval(() => {
        netns.run(() => execFileSync('bash', ['-c', 'echo x >/dev/udp/127.0.0.1/53'], { stdio: 'ignore' }));
      }, 100);
      try {
        const printed = await run('web1.logging.set', { web1, udp });
        expect(printed?.[0]).toMatchObject({ group: 5, prefix: expect.stringMatching(/^web1 (in|dns) $/) });
        expect(printed?.[1]).toContain('PROTO=UDP');
      } finally {
        clearInterval(sender);
      }
    }));

  it('prepares permissions', async () => {
    const made: Transaction[] = [];
    class Kept extends Transaction {
      constructor() {
        super();
        made.push(this);
      }
    }
    await run('prepare(', { prepare, ip, tcp, redirect, Transaction: Kept });
    expect(made.map(({ operations }) => operations.length)).toEqual([2]);
  });

  it('programs a fleet', () =>
    inContainer(async web1 => {
      await run('Fleet.open(', { Fleet, containers: [web1] });
      expect(await web1.redirects.list()).toEqual([
        { protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 },
      ]);
    }));

  it('watches', async () => {
    const name = `web-docs-${process.pid}`;
    const netns = NetNs.create();
    netns.pin(name);
    const fleet = Fleet.open();
    let watching: { close(): void } | undefined;
    const watch: Fleet['watch'] = (desired, ...parameters) => {
      // Only this one: others test beside us.
      const only = typeof desired === 'function' ? desired : () => desired;
      const made = fleet.watch((each, found) => (found.name === name ? only(each, found) : undefined), ...parameters);
      watching = made;
      return made;
    };
    try {
      expect(await run('fleet.watch(', { fleet: { watch } })).toEqual(['programmed', JSON.stringify(name)]);
    } finally {
      watching?.close();
      await fleet[Symbol.asyncDispose]();
      netns.unpin(name);
      netns.close();
    }
  });

  it('has no example that this file does not run', () => {
    expect(page.left).toEqual([]);
  });
});
