import { spawnSync } from 'node:child_process';
import { Links, NetNs } from 'netsteer';
import { type Expression, Nftables, type TraceEvent, Transaction } from 'netsteer/nftables';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { kernelSuite } from '../support/where.ts';

const PLACE = { family: 'ip', table: 't' } as const;

let netns: NetNs;
let nft: Nftables;

beforeEach(async () => {
  netns = NetNs.create();
  nft = Nftables.open({ netns });
  await using links = Links.open({ netns });
  await links.set('lo', { up: true });
});

afterEach(async () => {
  await nft[Symbol.asyncDispose]();
  netns.close();
});

/** One UDP packet to this host itself. */
function send(port: number): void {
  const script = `
    const socket = require('node:dgram').createSocket('udp4');
    socket.send('x', ${port}, '127.0.0.1', () => socket.close());`;
  const { status, stderr } = netns.run(() => spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' }));
  if (status !== 0) throw new Error(stderr);
}

const toPort = (port: number): Expression[] => [
  { meta: { key: 'l4proto', register: 1 } },
  { cmp: { register: 1, op: 'eq', data: '11' } },
  { payload: { base: 'transport', offset: 2, length: 2, register: 1 } },
  { cmp: { register: 1, op: 'eq', data: port.toString(16).padStart(4, '0') } },
];
const traced: Expression[] = [
  { immediate: { register: 1, data: '01' } },
  { meta: { key: 'nftrace', sourceRegister: 1 } },
];
const verdict = (name: 'accept' | 'drop' | 'jump', chain?: string): Expression => ({
  immediate: { register: 0, data: chain === undefined ? { verdict: name } : { verdict: name, chain } },
});

async function load(): Promise<bigint[]> {
  await nft.commit(
    new Transaction()
      .add({ table: { family: 'ip', name: 't' } })
      .add({ chain: { ...PLACE, name: 'in', type: 'filter', hook: 'input', priority: 0, policy: 'drop' } })
      .add({ chain: { ...PLACE, name: 'web' } })
      .add({ rule: { ...PLACE, chain: 'in', expressions: [...toPort(5000), ...traced] } })
      .add({ rule: { ...PLACE, chain: 'in', expressions: [verdict('jump', 'web')] } })
      .add({ rule: { ...PLACE, chain: 'web', expressions: [...toPort(6000), verdict('accept')] } }),
  );
  return (await nft.rules()).map(({ handle }) => handle);
}

kernelSuite('a trace', () => {
  it('follows a marked packet rule by rule to its end', async () => {
    const [first, jump] = await load();
    const trace = nft.trace({ ...PLACE });
    send(6000);
    send(5000);
    const steps: TraceEvent[] = [];
    for await (const step of trace) {
      steps.push(step);
      if (step.type === 'policy') break;
    }
    expect(trace.closed).toBe(true);
    // Kernels differ in what they say at the end of a chain.
    const told = steps.filter(({ ruleHandle, type }) => ruleHandle !== undefined || type === 'policy');
    expect(
      told.map(({ chain, type, ruleHandle, verdict: result, policy }) => ({
        chain,
        type,
        ruleHandle,
        result: result?.verdict ?? policy,
      })),
    ).toEqual([
      { chain: 'in', type: 'rule', ruleHandle: first, result: 'continue' },
      { chain: 'in', type: 'rule', ruleHandle: jump, result: 'jump' },
      { chain: 'in', type: 'policy', ruleHandle: undefined, result: 'drop' },
    ]);
    // One packet, whose headers come once.
    expect(new Set(steps.map(({ id }) => id)).size).toBe(1);
    expect(steps[0]).toMatchObject({ family: 'ip', protocolFamily: 'ip', inDevice: 1 });
    expect(steps[0]!.networkHeader).toMatch(/^45/);
    expect(steps[0]!.transportHeader!.slice(4, 8)).toBe('1388');
    expect(trace.losses).toBe(0);
  });

  it('counts what its buffer could not take, and continues', async () => {
    await load();
    const trace = nft.trace({ receiveBufferBytes: 4096 });
    const script = `
      const socket = require('node:dgram').createSocket('udp4');
      let left = 200;
      for (let i = 0; i < 200; i++) socket.send('x', 5000, '127.0.0.1', () => --left === 0 && socket.close());`;
    netns.run(() => spawnSync(process.execPath, ['-e', script]));
    const items = trace[Symbol.asyncIterator]();
    await items.next();
    while (trace.losses === 0) await items.next();
    expect(trace.losses).toBeGreaterThan(0);
    await trace.close();
    expect((await items.next()).done).toBe(true);
  });

  it('ends by its signal, and rejects unknown options and a second iteration with ERR_BUSY', async () => {
    const controller = new AbortController();
    const trace = nft.trace({ signal: controller.signal });
    const next = trace[Symbol.asyncIterator]().next();
    expect(() => trace[Symbol.asyncIterator]()).toThrow('ERR_BUSY');
    controller.abort(new Error('enough'));
    await expect(next).rejects.toThrow('enough');
    expect(() => nft.trace({ table: 't' })).toThrow('family');
    expect(() => nft.trace({ receiveBufferBytes: 0 })).toThrow('receiveBufferBytes');
  });
});
