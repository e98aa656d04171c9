import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Fleet } from '../../src/container/index.ts';
import { readConnections } from '../../src/ipvs/connections.ts';
import { checkMonitorOptions } from '../../src/nftables/watch/monitor.ts';
import { checkTraceOptions } from '../../src/nftables/watch/tracing.ts';
import { checkSignal, onAbort, throwIfAborted } from '../../src/signal.ts';
import { sourceModules } from '../support/compiled.ts';
import { openIpvs } from '../support/memory-ipvs.ts';
import { foreignController, listenersOf, NO_SIGNALS } from '../support/signals.ts';

const reason = new Error('enough');

/** Whoever takes a signal and is no operation of a handle (those: forms.test.ts). */
const takers: Record<string, (signal: AbortSignal) => unknown> = {
  'nft.monitor': signal => checkMonitorOptions({ signal }),
  'nft.trace': signal => checkTraceOptions({ signal }),
  'ipvs.connections': signal =>
    readConnections(
      () => {
        throw new Error('opened');
      },
      { signal },
      () => {},
    ).next(),
  'ipvs.reconcile': signal => ipvs().reconcile([], { signal }),
  'ipvs.sync.reconcile': signal => ipvs().sync.reconcile([], { signal }),
  'fleet.apply': signal => Fleet.open().apply([], {}, { signal }),
  'fleet.remove': signal => Fleet.open().remove([], {}, { signal }),
  'fleet.verify': signal => Fleet.open().verify([], {}, { signal }),
  'fleet.watch': signal => Fleet.open().watch({}, { directories: [], runtimes: [], signal }).close(),
};

const ipvs = () => openIpvs().ipvs;

async function outcome(call: () => unknown): Promise<unknown> {
  try {
    await call();
    return 'fine';
  } catch (error) {
    return error;
  }
}

describe.each(Object.entries(takers))('%s', (name, take) => {
  test('rejects another object with ERR_INVALID_ARG_TYPE', async () => {
    for (const bad of NO_SIGNALS) {
      const error = await outcome(() => take(bad as AbortSignal));
      expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
      expect((error as { attribute: string }).attribute).toMatch(/(^|\.)signal$/);
    }
  });

  test('accepts a signal of another realm', async () => {
    const { signal } = foreignController();
    expect(await outcome(() => take(signal))).toEqual(
      name === 'ipvs.connections' ? expect.objectContaining({ message: 'opened' }) : 'fine',
    );
    expect(listenersOf(signal)).toBe(0);
  });
});

test('an aborted signal of another realm throws its reason, or an AbortError where it has none', () => {
  const foreign = foreignController();
  throwIfAborted(foreign.signal);
  foreign.abort(reason);
  expect(() => throwIfAborted(foreign.signal)).toThrow(reason);
  const silent = foreignController();
  silent.abort();
  expect(() => throwIfAborted(silent.signal)).toThrow(expect.objectContaining({ name: 'AbortError' }));
});

test('a listener is called once, at once where the signal is aborted already, and not after its removal', () => {
  const foreign = foreignController();
  let calls = 0;
  const unlisten = onAbort(checkSignal(foreign.signal, []), () => calls++);
  onAbort(foreign.signal, () => calls++);
  unlisten();
  foreign.abort(reason);
  onAbort(foreign.signal, () => calls++)();
  expect(calls).toBe(2);
  expect(onAbort(undefined, () => calls++)).toBeTypeOf('function');
});

test('a reconciliation ends where its own progress callback aborts it, before the next step', () => {
  const { kernel, ipvs: handle } = openIpvs();
  const controller = new AbortController();
  const desired = [{ protocol: 'tcp' as const, address: '10.0.0.1', port: 80, scheduler: 'rr', destinations: [] }];
  const onProgress = () => controller.abort(reason);
  expect(() => handle.sync.reconcile(desired, { signal: controller.signal, onProgress })).toThrow(reason);
  expect(kernel.services).toEqual([]);
});

test('no module tests the class of a signal, or uses more than its interface', () => {
  const looking = sourceModules().filter(file =>
    /instanceof AbortSignal|signal\)?[?!]?\.throwIfAborted/i.test(
      readFileSync(new URL(`../../src/${file}`, import.meta.url), 'utf8'),
    ),
  );
  expect(looking).toEqual([]);
});

test('no module of src joins signals by AbortSignal.any: what only such a signal knows of is collected, and never fires', () => {
  const joining = sourceModules().filter(file => /\bAbortSignal\.any\(/.test(readFileSync(`src/${file}`, 'utf8')));
  expect(joining).toEqual([]);
});
