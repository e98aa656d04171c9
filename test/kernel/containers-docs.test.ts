import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { Container, Fleet, Links, NetNs } from 'netsteer';
import { ip, prepare, redirect, Transaction, tcp, udp } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { ROOT } from '../support/native.ts';
import { kernelSuite } from '../support/where.ts';

const page = fs.readFileSync(join(ROOT, 'docs/containers.md'), 'utf8');
const AsyncFunction = (async () => {}).constructor as new (
  ...parts: string[]
) => (...values: unknown[]) => Promise<void>;

/** Ends a loop of an example that goes on for ever. */
class Enough extends Error {}

/** Runs the block of the page that has `mark` in it, with these names known; returns what it prints first. */
async function run(mark: string, names: Record<string, unknown>): Promise<unknown[] | undefined> {
  const block = [...page.matchAll(/```ts\n(.*?)```/gs)].map(match => match[1]!).find(text => text.includes(mark));
  if (block === undefined) throw new Error(`docs/containers.md has no example with ${mark}`);
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
  it('redirects', () =>
    inContainer(async web1 => {
      await run('web1.redirects.set', { web1 });
      expect(await web1.redirects.list()).toHaveLength(2);
    }));

  it('logs', () =>
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

  it('prepares', async () => {
    const chain = { family: 'ip', table: 't', chain: 'c' };
    const transaction = new Transaction();
    const wanted = [
      { address: '10.10.0.100', port: 80 },
      { address: '10.10.0.101', port: 81 },
    ];
    await run('prepare(', { prepare, ip, tcp, redirect, chain, transaction, wanted });
    expect(transaction.operations).toHaveLength(2);
  });

  it('programs a fleet', () =>
    inContainer(async web1 => {
      const stateOf = () => ({ redirects: [{ protocol: 'tcp', address: '10.10.0.100', port: 80 }] });
      await run('Fleet.open(', { Fleet, containers: [web1], stateOf });
      expect(await web1.redirects.list()).toEqual(stateOf().redirects);
    }));

  it('watches', async () => {
    const name = `web-docs-${process.pid}`;
    const netns = NetNs.create();
    netns.pin(name);
    const fleet = Fleet.open();
    let watching: { close(): void } | undefined;
    // Only this one: others test beside us.
    const stateOf = (each: string) => (each === name ? { redirects: [] } : undefined);
    const watch: Fleet['watch'] = (...parameters) => {
      const made = fleet.watch(...parameters);
      watching = made;
      return made;
    };
    try {
      expect(await run('fleet.watch(', { fleet: { watch }, stateOf })).toEqual(['programmed', JSON.stringify(name)]);
    } finally {
      watching?.close();
      await fleet[Symbol.asyncDispose]();
      netns.unpin(name);
      netns.close();
    }
  });
});
